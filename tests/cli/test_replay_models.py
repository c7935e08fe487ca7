"""`specwb replay` with models: the reference on recorded inputs, and decoding continued from a step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Specwb
from tests.cli.pair_dirs import write_pair
from tests.cli.replaying import STEP, Recorded, at, replayed, rules_at
from tests.cli.rewrite import Row, rewrite


def test_with_models_a_clean_run_is_ok(specwb: Specwb, recorded: Recorded) -> None:
    answer = specwb("replay", recorded.run, *recorded.models, "--format", "json")
    summary = replayed(answer)
    assert (answer.exit_code, summary["verdict"]) == (0, "ok")
    assert summary["manifest"]["replay"]["models"] == {"teacher_weights": True, "drafter_weights": True}
    assert summary["findings"] == []
    reasons = " ".join(summary["not_checked"])
    assert "verify.logits" not in reasons
    assert "draft.candidates" in reasons


def nudge(column: str, amount: float) -> Callable[[Row], Row]:
    """Change the value of node 1, first entry."""

    def change(row: Row) -> Row:
        values = row[column].copy()
        values[1] += amount
        return row | {column: values}

    return change


@pytest.mark.parametrize(
    "case",
    [
        ("target_top_logits", 1e-2, "JUDGE-VERIFY-LOGITS"),
        ("target_top_logits", 1e-7, None),
        ("draft_logprobs", -1e-2, "JUDGE-DRAFT-SCORES"),
        ("draft_logprobs", 1e-7, None),
    ],
)
def test_with_models_numbers_are_judged(
    specwb: Specwb, recorded: Recorded, tmp_path: Path, case: tuple[str, float, str | None]
) -> None:
    """A shift of a row's logits keeps every choice; only the reference can see it. Rounding may do 1e-7."""
    column, amount, rule = case
    run = rewrite(recorded.run, tmp_path / "run", at(STEP, nudge(column, amount)))
    summary = replayed(specwb("replay", run, *recorded.models, "--step", f"0:0:{STEP}", "--format", "json"))
    assert {name for _, name in rules_at(summary)} == ({rule} if rule else set())


def test_a_draft_without_scores_is_judged_by_the_order_of_its_tokens(
    specwb: Specwb, recorded: Recorded, tmp_path: Path
) -> None:
    def other_leaf(row: Row) -> Row:
        leaf = int(np.flatnonzero(row["valid"])[-1])
        tokens = row["token_ids"].copy()
        tokens[leaf] = next(token for token in range(3, 60) if token not in tokens)
        return row | {"token_ids": tokens}

    def without(row: Row) -> Row:
        return row | {"draft_logprobs": None}

    command = ("--step", f"0:0:{STEP}", "--format", "json")
    for number, change in enumerate((without, lambda row: other_leaf(without(row)))):
        run = rewrite(recorded.run, tmp_path / str(number), at(STEP, change))
        found = rules_at(replayed(specwb("replay", run, *recorded.models, *command)))
        assert ((STEP, "JUDGE-DRAFT-CANDIDATES") in found) == bool(number), found
    drawn = rewrite(
        recorded.run,
        tmp_path / "drawn",
        at(STEP, lambda row: other_leaf(without(row)) | {"proposer": "medusa"}),
    )
    found = rules_at(replayed(specwb("replay", drawn, *recorded.models, *command)))
    assert (STEP, "JUDGE-DRAFT-CANDIDATES") not in found


def test_with_models_a_wrong_choice_is_found(specwb: Specwb, recorded: Recorded, tmp_path: Path) -> None:
    """Choice and logits of a leaf agree with each other, and with nothing the model says."""

    def swap(row: Row) -> Row:
        leaf = int(np.flatnonzero(row["valid"])[-1])
        ids, logits, choices = (
            row[name].copy() for name in ("target_top_ids", "target_top_logits", "target_token_ids")
        )
        ids[leaf, :2] = ids[leaf, 1::-1]
        choices[leaf] = ids[leaf, 0]
        return row | {"target_top_ids": ids, "target_top_logits": logits, "target_token_ids": choices}

    run = rewrite(recorded.run, tmp_path / "run", at(STEP, swap))
    summary = replayed(specwb("replay", run, *recorded.models, "--step", f"0:0:{STEP}", "--format", "json"))
    assert (STEP, "JUDGE-VERIFY-LOGITS") in rules_at(summary)


def test_other_models_are_said(specwb: Specwb, recorded: Recorded, tmp_path: Path) -> None:
    teacher, drafter = write_pair(tmp_path, seed=4)
    answer = specwb("replay", recorded.run, "--model", teacher, "--draft", drafter, "--step", "0:0:0")
    assert answer.exit_code == 1
    assert "teacher_weights: NOT those of the recording" in answer.err


def test_a_teacher_alone_judges_all_but_drafts(specwb: Specwb, recorded: Recorded) -> None:
    answer = specwb("replay", recorded.run, *recorded.models[:2], "--format", "json")
    summary = replayed(answer)
    assert answer.exit_code == 0
    assert summary["manifest"]["replay"]["models"] == {"teacher_weights": True}
    assert any(reason.startswith("draft.*") for reason in summary["not_checked"])


def test_decoding_goes_on_from_a_recorded_step(specwb: Specwb, recorded: Recorded, tmp_path: Path) -> None:
    argv = ("--continue", "--step", f"0:0:{STEP}", "--out", tmp_path / "more", "--format", "json")
    answer = specwb("replay", recorded.run, *recorded.models, *argv)
    summary = replayed(answer)
    assert answer.exit_code in {0, 4}
    whole = recorded.answer["emitted_token_ids"][0]
    rest = summary["emitted_token_ids"][0]
    assert rest == whole[len(whole) - len(rest) :]
    assert rest[0] == summary["recorded_root"]
    assert specwb("check", tmp_path / "more").exit_code == 0
    assert specwb("replay", recorded.run, "--continue").exit_code == 2


def test_a_part_of_a_turn_says_what_it_cannot_judge(
    specwb: Specwb, recorded: Recorded, tmp_path: Path
) -> None:
    part = tmp_path / "part"
    specwb("trace", "slice", recorded.run, "--first", "0:0:2", "--last", "0:0:4", "--out", part)
    answer = specwb("replay", part, *recorded.models, "--format", "json")
    assert any(
        "tokens before the step are not in the trace" in text for text in replayed(answer)["not_checked"]
    )
    assert "are not in the trace" in specwb("replay", part, "--continue", "--step", "0:0:3").err


def test_missing_models_exit_3(specwb: Specwb, recorded: Recorded, tmp_path: Path) -> None:
    assert specwb("replay", recorded.run, "--model", tmp_path / "none").exit_code == 3
    assert specwb("replay", recorded.run, "--draft", recorded.models[3]).exit_code == 2
