"""Shared by the tests of this folder: run all rules on a case, and name those that spoke."""

from __future__ import annotations

from collections.abc import Sequence

from invariants.batch.steps import Batch
from invariants.batch.suspicious import suspicious_steps
from invariants.context import RunContext
from invariants.inputs import Row
from invariants.mutation import Case
from invariants.outcome import Held, NotChecked, Outcome, Violated
from invariants.rule import BoolArray
from invariants.run import check_step
from tests.invariants.pack import pack
from tracing.finding import Finding


def outcomes(case: Case) -> dict[str, Outcome]:
    said = check_step(
        case.row, previous=case.previous, first=case.first, context=case.context, others=case.between
    )
    return {outcome.rule: outcome for outcome in said}


def violated(case: Case) -> list[str]:
    return [rule for rule, outcome in outcomes(case).items() if isinstance(outcome, Violated)]


def held(case: Case) -> list[str]:
    return [rule for rule, outcome in outcomes(case).items() if isinstance(outcome, Held)]


def findings(case: Case) -> list[Finding]:
    return [
        finding
        for outcome in outcomes(case).values()
        if isinstance(outcome, Violated)
        for finding in outcome.findings
    ]


def reason(case: Case, rule: str) -> str:
    outcome = outcomes(case)[rule]
    assert isinstance(outcome, NotChecked), outcome
    return outcome.reason


def prefiltered(rows: Sequence[Row], context: RunContext | None = None) -> BoolArray:
    """Which steps the loop must look at."""
    return suspicious_steps(Batch(pack(rows), context))
