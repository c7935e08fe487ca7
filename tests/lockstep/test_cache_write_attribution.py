"""A stage that may only read and writes into a cache is named, though the damage is seen a stage later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.lockstep.runs import Outcome, run
from tracing.stages import DecodePath
from workbench.lockstep.staged.cache_write_attribution import RULE

Write = Callable[[Any], None]


def committed_row(state: Any) -> None:
    state.caches.main_cache.layers[0].keys[0, 0, 1] += 1


def tree_row(state: Any) -> None:
    state.caches.branch_caches[0].layers[1].values[0, 0, state.committed_len] += 1


def own_rows(state: Any) -> None:
    """The drafter's cache is the draft's own; what it holds is judged as such."""
    state.memory.cache.layers[0].keys[0, 0, 0] += 0.0


def writing(stage: str, write: Write, *, lacks_snapshot: bool = False) -> Callable[[DecodePath], DecodePath]:
    def faulty(path: DecodePath) -> DecodePath:
        honest = getattr(path.stages, stage)

        def writes(state: Any, *given: Any) -> Any:
            made = honest(state, *given)
            write(state)
            return made

        snapshot = None if lacks_snapshot else path.snapshot
        return replace(path, stages=replace(path.stages, **{stage: writes}), snapshot=snapshot)

    return faulty


def rules(outcome: Outcome) -> list[str]:
    return [finding.rule for finding in outcome.log.findings]


@pytest.mark.parametrize(
    ("stage", "write"),
    [
        ("draft", committed_row),
        ("tensorize", committed_row),
        ("accept", committed_row),
        ("accept", tree_row),
    ],
)
def test_the_stage_that_wrote_is_named_first(tmp_path: Path, stage: str, write: Write) -> None:
    outcome = run(tmp_path / "run", path=writing(stage, write))
    assert (outcome.first.rule, outcome.first.moment.stage, outcome.first.guilty) == (RULE, stage, "fused")
    assert all(finding.consequence for finding in outcome.log.findings[1:])


def test_a_commit_that_writes_a_wrong_row_is_not_excused(tmp_path: Path) -> None:
    outcome = run(tmp_path / "run", path=writing("commit", committed_row))
    assert outcome.first.moment.stage == "commit"
    assert RULE not in rules(outcome)


def test_a_write_during_verify_stays_verifys(tmp_path: Path) -> None:
    outcome = run(tmp_path / "run", path=writing("verify", committed_row))
    assert outcome.first.moment.stage == "verify"
    assert RULE not in rules(outcome)


def test_own_rows_may_be_written(tmp_path: Path) -> None:
    assert rules(run(tmp_path / "run", path=writing("draft", own_rows))) == []


def test_without_a_copy_of_the_state_the_damage_is_still_noticed(tmp_path: Path) -> None:
    outcome = run(tmp_path / "run", path=writing("accept", committed_row, lacks_snapshot=True))
    assert outcome.first.moment.stage == "commit"
    assert RULE not in rules(outcome)
