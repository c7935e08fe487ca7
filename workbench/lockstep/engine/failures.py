"""A stage that did not finish, as a finding: refused, against a contract, or raised."""

from __future__ import annotations

from typing import Any

from tracing.errors import ContractError, LaunchRefusedError
from tracing.finding import Finding
from tracing.moment import Moment
from tracing.stage_validation import InvalidStageResultError
from workbench.judge.turn_state import TurnState

RAISED = "RUN-STAGE-RAISED"
"""Rule of a stage that ended in an exception that is no finding of its own."""

SHAPE = "JUDGE-SHAPE"
"""Rule of a result that is none of its stage's, None included."""


def fused_finding(rule: str, at: Moment, message: str, column: str = "", **values: Any) -> Finding:
    """Return a structural finding about the path under test; `values` are `fused` and `reference`."""
    return Finding(
        verdict="structural",
        guilty="fused",
        moment=at,
        column=column,
        rule=rule,
        message=message,
        path="fused",
        **values,
    )


def findings_of_failure(turn_state: TurnState, stage: str, error: Exception) -> tuple[Finding, ...]:
    """Return the findings of an exception inside a stage of the path under test."""
    at = turn_state.moment.at(stage)
    if isinstance(error, LaunchRefusedError):
        return tuple(finding for finding in error.findings if isinstance(finding, Finding))
    if isinstance(error, ContractError):
        values = {"fused": error.value, "reference": error.expected}
        return (fused_finding(error.rule, at, str(error), error.argument, **values),)
    kind = type(error).__name__
    return (fused_finding(RAISED, at, f"stage {stage} raised {kind}: {error}", fused=kind),)


def finding_of_invalid_result(turn_state: TurnState, stage: str, invalid: InvalidStageResultError) -> Finding:
    """Return the finding of an invalid stage result."""
    message = f"stage {stage} does not give what the seam prescribes: {invalid}"
    values = {"fused": invalid.came, "reference": invalid.expected}
    return fused_finding(SHAPE, turn_state.moment.at(stage), message, invalid.column, **values)
