"""The truth runs where a sample leaves something open, and nothing that is said changes by it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.lockstep.runs import Outcome, Setup, run
from tracing.settings import DecodeSettings
from tracing.stages import Stages, Verified
from workbench.lockstep.staged import sample_first

SETUP = Setup(
    settings=DecodeSettings(tree_nodes=20, depth=2, top_k=8, max_new_tokens=12),
    options={"repeat": False},
    prompt=tuple(range(1, 21)),
)
"""More than 16 nodes, and some steps behind the first two."""


def said(outcome: Outcome) -> list[Any]:
    return [
        (each.rule, each.verdict, each.guilty, str(each.moment), each.message)
        for each in outcome.log.findings
    ]


def by_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_first, "EVERY", 1)


def test_a_clean_run_needs_the_truth_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = run(tmp_path / "a", SETUP)
    steps = outcome.staged.finished[0].step
    first = outcome.staged.judge.sample_first
    assert outcome.first is None
    assert first.steps == steps - sum(step in sample_first.FIRST for step in range(steps)) > 0
    assert set(first.known) == {
        *("draft.kv", "draft.levels", "verify.kv", "verify.features", "verify.logits")
    }
    by_truth(monkeypatch)
    assert run(tmp_path / "b", SETUP).staged.judge.sample_first.steps == 0


@pytest.mark.parametrize("change", [{"dtype": "bfloat16"}, {"rung": "masked"}])
def test_other_runs_are_judged_by_the_truth(tmp_path: Path, change: dict[str, Any]) -> None:
    assert run(tmp_path / "run", replace(SETUP, **change)).staged.judge.sample_first.steps == 0


@pytest.mark.parametrize("which", ["logits", "features", "node_kv"])
def test_what_is_wrong_later_is_said_as_the_truth_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """One row of the third step is off by a hundred times its rounding."""

    def faulty(stages: Stages) -> Stages:
        calls = []

        def verify(state: Any, tree: Any) -> Verified:
            made = stages.verify(state, tree)
            calls.append(1)
            if len(calls) != 3:
                return made
            if which == "node_kv":
                state.caches.branch_caches[0].rows_by_layer[1].keys[0, :, -7] += 1e-3
                return made
            rows = getattr(made, which).clone()
            rows[7, 1] += 1e-3
            return replace(made, **{which: rows})

        return replace(stages, verify=verify)

    told = said(run(tmp_path / "a", SETUP, fused=faulty))
    by_truth(monkeypatch)
    assert told == said(run(tmp_path / "b", SETUP, fused=faulty))
    assert told[0][3].startswith("0:0:2:verify"), told
