"""A stage that did not finish, as a finding: refused, against a contract, or raised."""

from __future__ import annotations

from typing import Any

from tracing.errors import ContractError, LaunchRefusedError
from tracing.finding import Finding
from tracing.moment import Moment
from tracing.stage_validation import InvalidStageResultError
from workbench.judge.turn_state import TurnState
from workbench.lockstep.engine.under_test import PathUnderTest
from workbench.lockstep.engine.user_code import UserCodeError

SHAPE = "JUDGE-SHAPE"
"""Rule of a result that is none of its stage's, None included."""


def fused_finding(rule: str, at: Moment, message: str, column: str = "", **values: Any) -> Finding:
    """Return a structural finding about the path under test; `values` are other fields."""
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
    """Return the findings, one or more, of an exception inside a stage of the path under test."""
    at = turn_state.moment.at(stage)
    if isinstance(error, LaunchRefusedError):
        found = tuple(finding for finding in error.findings if isinstance(finding, Finding))
        return found or findings_of_failure(turn_state, stage, UserCodeError.of(stage, error))
    if isinstance(error, ContractError):
        values = {"fused": error.value, "reference": error.expected}
        return (fused_finding(error.rule, at, str(error), error.argument, **values),)
    if isinstance(error, InvalidStageResultError):
        return (finding_of_invalid_result(turn_state, stage, error),)
    raised = error if isinstance(error, UserCodeError) else UserCodeError.of(stage, error)
    return (_finding_of_code(at, stage, raised),)


def findings_of_windows(path: PathUnderTest, turn_state: TurnState, stage: str) -> tuple[Finding, ...]:
    """Return what windows showed around a stage: those that failed, closed now, and static inputs."""
    failures = path.take_failures()
    failed = (each for failure in failures for each in findings_of_failure(turn_state, stage, failure))
    return (*failed, *(() if path.static is None else path.static.take()))


def _finding_of_code(at: Moment, stage: str, raised: UserCodeError) -> Finding:
    """Return the finding of code under test that raised in a stage, or around it."""
    of_stage = raised.member == stage
    what = f"stage {stage} {raised.what}" if of_stage else f"{raised.member} {raised.what}, in stage {stage}"
    message = f"{what}; {raised.frames[-1]}" if raised.frames else what
    column = "" if of_stage else raised.member
    return fused_finding(raised.rule, at, message, column, fused=raised.kind, frames=raised.frames)


def finding_of_invalid_result(turn_state: TurnState, stage: str, invalid: InvalidStageResultError) -> Finding:
    """Return the finding of an invalid stage result."""
    message = f"stage {stage} does not give what the seam prescribes: {invalid}"
    values = {"fused": invalid.came, "reference": invalid.expected}
    return fused_finding(SHAPE, turn_state.moment.at(stage), message, invalid.column, **values)
