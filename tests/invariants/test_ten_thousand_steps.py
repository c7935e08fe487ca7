"""Ten thousand random legal steps, and not one finding; by prefilter and loop, as `specwb check` does it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from invariants.batched import BatchChecker
from invariants.catalogue import CATALOGUE
from invariants.examples import CONTEXT, StepRow
from invariants.outcome import Violated
from invariants.run import Checker
from invariants.strategies import legal_runs
from tests.invariants.pack import pack

NUM_STEPS = 10_000
NUM_RUNS = 2000
BY_LOOP = 10
"""Every so many runs the loop alone judges as well."""


@pytest.fixture(scope="module")
def drawn() -> list[list[StepRow]]:
    """Runs of one prompt each, numbered so that together they are one long recording."""
    runs: list[list[StepRow]] = []

    @given(legal_runs(max_turns=3, max_steps=12))
    @settings(max_examples=NUM_RUNS, suppress_health_check=list(HealthCheck))
    def draw(rows: list[StepRow]) -> None:
        runs.append([{**row, "prompt_id": len(runs)} for row in rows])

    draw()
    return runs


def broken(outcomes: Any) -> list[str]:
    return [str(outcome) for outcome in outcomes if isinstance(outcome, Violated)]


def test_no_rule_speaks(drawn: list[list[StepRow]]) -> None:
    rows = [row for run in drawn for row in run]
    assert len(rows) >= NUM_STEPS, len(rows)
    checker = BatchChecker(CONTEXT)
    assert [broken(said) for _, said in checker.batch("fused", pack(rows), rows.__getitem__)] == []
    alarms = [outcome.rule for outcome in checker.finish() if isinstance(outcome, Violated)]
    assert alarms == []
    held = {rule for rule, counts in checker.counts["fused"].items() if counts.held}
    # No commit by length, no draft that numbers its nodes itself, no window, grammar or rotary row is drawn.
    # No step says apart what was proposed. No step is sampled either: test_sampled_runs.py has those.
    not_drawn = {"KV006", "KV014", "TREE011", "MASK012", "LOGIT004", "POS005", "DRAFT007", "STEP006"}
    every = {rule.id for rule in CATALOGUE if rule.scope not in ("run", "launch") and rule.family != "SAMP"}
    assert every - held == not_drawn


def test_the_loop_agrees_on_a_sample(drawn: list[list[StepRow]]) -> None:
    checker = Checker(CONTEXT)
    for run in drawn[::BY_LOOP]:
        for row in run:
            assert broken(checker.step("fused", row)) == []
