"""Replay of steps that ran together says what replay of one step after another says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from reference import teacher
from tests.cli.rewrite import Row, rewrite
from tests.lockstep.runs import SMALL, Setup
from tests.lockstep.runs import run as record
from tracing.models import ModelPair
from tracing.reader import open_run
from tracing.recorder import open_trace
from workbench.judge.recorded.evidence import RecordedFacts
from workbench.judge.recorded.rejudge import Rejudged, rejudge
from workbench.lockstep.replay import stacked
from workbench.lockstep.replay.judge import ModelJudge
from workbench.lockstep.truth.reference_runner import ReferenceRunner
from workbench.lockstep.truth.ways import DRAWN

TREE, CHAIN = Setup(), Setup(settings=replace(SMALL, top_k=1, tree_nodes=4))


@dataclass(frozen=True)
class Recorded:
    setup: Setup
    folder: Path


@pytest.fixture(scope="module", params=[TREE, CHAIN], ids=["trees", "chains"])
def recorded(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    setup: Setup = request.param
    return Recorded(setup, record(tmp_path_factory.mktemp("stacked") / "run", setup).folder)


def judged(recorded: Recorded, folder: Path) -> Rejudged:
    pair: ModelPair = recorded.setup.pair
    runner = ReferenceRunner(pair, recorded.setup.settings, path_dtype="float32")
    return rejudge(
        open_run(folder),
        under_test="fused",
        facts=RecordedFacts(),
        max_new_tokens=recorded.setup.settings.max_new_tokens,
        judge=ModelJudge(runner, pair.eos_token_ids),
        known=(),
        paired=False,
    )


def without_stacks(monkeypatch: pytest.MonkeyPatch, recorded: Recorded, folder: Path) -> Rejudged:
    with monkeypatch.context() as patch:
        patch.setattr(ReferenceRunner, "stacks", False)
        return judged(recorded, folder)


def said(rejudged: Rejudged) -> dict[str, Any]:
    """All that is said, numbers as far as they are no matter of rounding."""
    verdict = rejudged.verdict
    return {
        "verdict": (verdict.verdict, verdict.near_ties, verdict.coverage, dict(verdict.not_checked)),
        "steps": (rejudged.num_steps, rejudged.num_compared, rejudged.num_left_out),
        "findings": [
            (each.rule, each.moment, each.verdict, each.guilty, each.consequence, each.fused)
            for each in rejudged.findings
        ],
    }


def changed(column: str, amount: float, node: int = 1) -> Callable[[Row], Row]:
    def change(row: Row) -> Row:
        values = row[column].copy()
        values[node] += amount
        return row | {column: values}

    return change


def other_leaf(row: Row) -> Row:
    """Draft a token that is not the best, and give no scores."""
    tokens = row["token_ids"].copy()
    tokens[-1] = next(token for token in range(3, 60) if token not in tokens)
    return row | {"token_ids": tokens, "draft_logprobs": None}


CHANGES: dict[str, Callable[[Row], Row]] = {
    "nothing": lambda row: row,
    "logits": changed("target_top_logits", 1e-2),
    "rounding": changed("target_top_logits", 1e-7),
    "scores": changed("draft_logprobs", -1e-2),
    "no scores": lambda row: row | {"draft_logprobs": None},
    "another leaf": other_leaf,
    "positions": changed("position_ids", 1),
    "an id that no vocabulary has": changed("token_ids", 10**6),
    "another length": lambda row: row | {"committed_len": row["committed_len"] + 1},
    "no logits": lambda row: row | {"target_top_logits": None, "target_top_ids": None},
}


UNJUDGED = {"an id that no vocabulary has", "another length"}
SILENT = {"nothing", "rounding", "no scores", "no logits", "an id that no vocabulary has"}
"""Nothing is wrong, or a rule of `check` says what is."""


@pytest.mark.parametrize("change", CHANGES)
def test_stacked_says_what_one_by_one_says(
    recorded: Recorded, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = 1
    folder = rewrite(
        recorded.folder,
        tmp_path / "run",
        lambda name, row: CHANGES[change](row) if (name, row["step"]) == ("fused", step) else row,
    )
    together = judged(recorded, folder)
    assert said(together) == said(without_stacks(monkeypatch, recorded, folder))
    assert bool(together.findings) == (change not in SILENT)
    assert together.num_steps - together.num_compared == (change in UNJUDGED)


def test_a_turn_is_a_few_forwards(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, forward = list[int](), teacher.forward

    def counted(models: Any, token_ids: Any, *given: Any, **named: Any) -> Any:
        calls.append(len(token_ids))
        return forward(models, token_ids, *given, **named)

    monkeypatch.setattr(teacher, "forward", counted)
    num_steps = judged(recorded, recorded.folder).num_steps
    assert num_steps > 3
    assert len(calls) == 4  # the truth and a sample; prefill of the prompt, and all steps
    nodes = recorded.setup.settings.tree_nodes
    calls.clear()
    monkeypatch.setattr(stacked, "NODES_AT_ONCE", 2 * nodes)
    judged(recorded, recorded.folder)
    assert len(calls) == 2 * (1 + (num_steps + 1) // 2)
    assert max(calls) <= 2 * nodes + 2 * (recorded.setup.settings.depth + 2)


def test_requests_that_take_turns_are_stacked_each(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two turns of the same tokens, step by step in turn; a wrong value of one accuses that one alone."""
    run = open_run(recorded.folder)
    rows = [
        (prompt, changed("target_top_logits", 1e-2)(row) if (prompt, row["step"]) == (1, 2) else row)
        for row in map(dict, run.path("fused"))
        for prompt in (0, 1)
    ]
    with open_trace(tmp_path / "run", engine="an engine of its own") as trace:
        for prompt, row in rows:
            values = {name: value for name, value in row.items() if value is not None}
            place = {"prompt_id": prompt, "turn": values.pop("turn"), "step": values.pop("step")}
            del values["prompt_id"]
            with trace.step(**place) as step:
                step.record(**values)
    together = judged(recorded, tmp_path / "run")
    assert [each.moment.place for each in together.findings] == [(1, 0, 2)]
    assert said(together) == said(without_stacks(monkeypatch, recorded, tmp_path / "run"))


@pytest.mark.parametrize("change", ["logits", "scores"])
def test_what_is_not_explained_asks_each_model_once(
    recorded: Recorded, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples are drawn in rounds; a later round computes nothing that an earlier one has computed."""
    folder = rewrite(
        recorded.folder,
        tmp_path / "run",
        lambda name, row: CHANGES[change](row) if (name, row["step"]) == ("fused", 1) else row,
    )
    asked = list[tuple[int, int]]()
    verify = ReferenceRunner.verify

    def counted(self: Any, committed: Any, tree: Any, models: Any = None, **given: Any) -> Any:
        asked.extend((len(committed), id(each)) for each in models)
        return verify(self, committed, tree, models, **given)

    monkeypatch.setattr(ReferenceRunner, "verify", counted)
    assert without_stacks(monkeypatch, recorded, folder).findings
    assert len({model for _, model in asked}) == 1 + DRAWN[-1]
    assert len(asked) == len(set(asked))
