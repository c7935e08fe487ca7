"""`specwb replay`: the judge fed from disk, alone and with models; faults in recorded rows are found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import Specwb
from tests.cli.pair_dirs import write_pair
from tests.cli.rewrite import Row, rewrite
from tracing.finding import Finding
from tracing.moment import Moment
from tracing.reader import open_run
from tracing.recorder import RunWriter

ROOT = Path(__file__).parents[2]
STEP = 3


@dataclass(frozen=True)
class Recorded:
    """A run of `specwb diff`, and the models that made it."""

    run: Path
    models: tuple[str, ...]
    answer: dict[str, Any]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("recorded")
    teacher, drafter = write_pair(folder)
    (folder / "prompt.txt").write_text("hello there hello there")
    models = ("--model", str(teacher), "--draft", str(drafter))
    argv = ["diff", "--prompt", str(folder / "prompt.txt"), *models, "--out", str(folder / "run")]
    argv += ["--tree-nodes", "12", "--depth", "3", "--top-k", "4", "--max-new-tokens", "24"]
    done = subprocess.run(
        [sys.executable, "-m", "specwb", *argv, "--format", "json", "--npu-way", "schemas"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return Recorded(folder / "run", models, json.loads(done.stdout))


def at(step: int, change: Callable[[Row], Row], path: str = "fused") -> Callable[[str, Row], Row]:
    return lambda name, row: change(row) if (name, row["step"]) == (path, step) else row


def replayed(answer: Any) -> dict[str, Any]:
    assert answer.out, answer.err
    return json.loads(answer.out)  # type: ignore[no-any-return]


def rules_at(summary: dict[str, Any]) -> set[tuple[int, str]]:
    return {(finding["step"], finding["rule"]) for finding in summary["findings"]}


def test_alone_a_clean_run_is_ok(specwb: Specwb, recorded: Recorded) -> None:
    answer = specwb("replay", recorded.run, "--format", "json")
    summary = replayed(answer)
    assert answer.exit_code == 0
    assert summary["verdict"] == "ok"
    assert summary["emitted_token_ids"] == recorded.answer["emitted_token_ids"]
    assert summary["mean_accepted"] == recorded.answer["mean_accepted"]
    assert {name: summary["coverage"][name] for name in ("steps", "rejections", "branches")} == {
        name: recorded.answer["coverage"][name] for name in ("steps", "rejections", "branches")
    }


def test_alone_it_needs_no_torch(recorded: Recorded) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from workbench.cli.run import run_command\n"
        "assert run_command(['replay', sys.argv[2]]) == 0\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script, str(ROOT), str(recorded.run)], check=True)


def test_one_step_and_a_range(specwb: Specwb, recorded: Recorded) -> None:
    steps = recorded.answer["steps"]
    one = replayed(specwb("replay", recorded.run, "--step", "0:0:2", "--format", "json"))
    assert (one["steps"], one["unjudged_steps"], one["coverage"]["steps"]) == (steps, steps - 1, 1)
    some = replayed(specwb("replay", recorded.run, "--step", "1:3", "--format", "json"))
    assert some["coverage"]["steps"] == 2
    assert specwb("replay", recorded.run, "--step", "x").exit_code == 2
    assert specwb("replay", recorded.run, "--step", "0:0:99").exit_code == 4


def test_alone_a_wrong_acceptance_is_found(specwb: Specwb, recorded: Recorded, tmp_path: Path) -> None:
    """The engine stopped one node short: the text is right, the speed is not."""

    def shorten(row: Row) -> Row:
        if len(row["accepted_nodes"]) < 1:
            return row
        last = int(row["accepted_nodes"][-1])
        return row | {
            "accepted_nodes": row["accepted_nodes"][:-1],
            "emitted_token_ids": row["emitted_token_ids"][:-1],
            "path_indices": row["path_indices"][:-1],
            "final_token_id": int(row["token_ids"][last]),
            "committed_len_after": row["committed_len_after"] - 1,
        }

    long_step = int(np.argmax([len(row["accepted_nodes"]) for row in open_run(recorded.run).path("fused")]))
    run = rewrite(recorded.run, tmp_path / "run", at(long_step, shorten))
    answer = specwb("replay", run, "--format", "json")
    summary = replayed(answer)
    assert answer.exit_code == 1
    assert (long_step, "JUDGE-ACCEPT-NODES") in rules_at(summary)
    assert summary["first_divergence"]["step"] == long_step
    assert all(finding["consequence"] for finding in summary["findings"] if finding["step"] > long_step)


def test_alone_a_different_choice_is_judged_as_asked(
    specwb: Specwb, recorded: Recorded, tmp_path: Path
) -> None:
    """The reference prefers its second choice: passed by the recording's judge, or by the gap asked for."""

    def second(row: Row) -> Row:
        leaf = int(np.flatnonzero(row["valid"])[-1])
        choices = row["target_token_ids"].copy()
        choices[leaf] = row["target_top_ids"][leaf, 1]
        logits = row["target_top_logits"].copy()
        logits[leaf, 1] = logits[leaf, 0] + 0.5
        return row | {"target_token_ids": choices, "target_top_logits": logits}

    run = rewrite(recorded.run, tmp_path / "run", at(STEP, second, "reference"))
    quiet = ("--format", "json")
    as_recorded = replayed(specwb("replay", run, *quiet))
    choice = (STEP, "JUDGE-VERIFY-CHOICE")
    assert choice not in rules_at(as_recorded)
    assert as_recorded["near_ties"] == 1
    assert choice in rules_at(replayed(specwb("replay", run, *quiet, "--tie-gap", "0.1")))
    assert choice not in rules_at(replayed(specwb("replay", run, *quiet, "--tie-gap", "1.0")))
    assert (STEP, "JUDGE-VERIFY-LOGITS") in rules_at(
        replayed(specwb("replay", run, *quiet, "--logit-gap", "0.1"))
    )
    unjudged = rewrite(run, tmp_path / "unjudged", lambda _, row: row | {"step_verdict": None})
    assert choice in rules_at(replayed(specwb("replay", unjudged, *quiet)))


def test_recorded_numeric_findings_have_other_allowances(specwb: Specwb, tmp_path: Path) -> None:
    from tests.cli.recorded import write_run

    numeric = Finding(
        "numeric",
        "fused",
        Moment(0, 0, 1, "verify", 2),
        "logits",
        gap=3.0,
        allowance=1.0,
        rule="JUDGE-VERIFY-LOGITS",
    )
    source = write_run(tmp_path / "source", 6)
    run = tmp_path / "run"
    with RunWriter(run, {"settings": open_run(source).manifest["settings"]}) as writer:
        trace = writer.path("fused")
        for row in open_run(source).path("fused"):
            values = {name: value for name, value in row.items() if value is not None}
            keys = {name: values.pop(name) for name in ("prompt_id", "turn", "step")}
            with trace.step(**keys) as step:
                step.record(**values)
        writer.add_finding(numeric)
    assert specwb("replay", run).exit_code == 1
    assert specwb("replay", run, "--allowance-factor", "2").exit_code == 1
    assert specwb("replay", run, "--allowance-factor", "4").exit_code == 0


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
    answer = specwb("replay", recorded.run, *recorded.models[:2], "--step", "0:2", "--format", "json")
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


def test_a_run_that_was_never_closed_is_not_called_ok(
    specwb: Specwb, recorded: Recorded, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    writer = RunWriter(run, {"lockstep": "staged"})
    trace = writer.path("fused")
    for row in open_run(recorded.run).path("fused"):
        values = {name: value for name, value in row.items() if value is not None}
        keys = {name: values.pop(name) for name in ("prompt_id", "turn", "step")}
        with trace.step(**keys) as step:
            step.record(**values)
    answer = specwb("replay", run, "--format", "json")
    writer.close()
    assert (answer.exit_code, replayed(answer)["verdict"]) == (4, "inconclusive")
    assert specwb("replay", run).exit_code == 0


def test_missing_models_exit_3(specwb: Specwb, recorded: Recorded, tmp_path: Path) -> None:
    assert specwb("replay", recorded.run, "--model", tmp_path / "none").exit_code == 3
    assert specwb("replay", recorded.run, "--draft", recorded.models[3]).exit_code == 2
