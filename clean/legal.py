"""Random legal steps under all rules, step by step."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, given, seed, settings

from invariants.examples import CONTEXT, StepRow
from invariants.outcome import Violated
from invariants.run import Checker
from invariants.strategies import legal_runs

RUNS_PER_SEED = 500


def check_legal_steps(first_seed: int, num_steps: int) -> tuple[int, list[str]]:
    """Check at least so many random legal steps; return how many, and what was found."""
    seen, found, number = 0, [], first_seed
    while seen < num_steps:
        rows = _rows(number)
        number += 1
        for run in rows:
            checker = Checker(CONTEXT)
            seen += len(run)
            for row in run:
                wrong = (each for each in checker.step("fused", row) if isinstance(each, Violated))
                found += [f"legal steps, seed {number - 1}: {each}" for each in wrong]
    return seen, found


def _rows(number: int) -> list[list[StepRow]]:
    """Return the runs that one seed gives."""
    made: list[list[StepRow]] = []

    @seed(number)
    @settings(
        max_examples=RUNS_PER_SEED,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(legal_runs(max_turns=3, max_steps=6))
    def collect(rows: list[StepRow]) -> None:
        made.append(rows)

    collect()
    return made
