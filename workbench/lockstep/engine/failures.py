"""A stage that did not finish, as a finding: refused, against a contract, or raised."""

from __future__ import annotations

from tracing.errors import ContractError, LaunchRefusedError
from tracing.finding import Finding
from tracing.stage_validation import InvalidStageResultError
from workbench.judge.turn_state import TurnState

RAISED = "RUN-STAGE-RAISED"
"""Rule of a stage that ended in an exception that is no finding of its own."""

SHAPE = "JUDGE-SHAPE"
"""Rule of a result that is none of its stage's, None included."""


def findings_of_failure(turn_state: TurnState, stage: str, error: Exception) -> tuple[Finding, ...]:
    """Return the findings of an exception inside a stage of the path under test."""
    if isinstance(error, LaunchRefusedError):
        return tuple(finding for finding in error.findings if isinstance(finding, Finding))
    contract = error if isinstance(error, ContractError) else None
    return (
        Finding(
            verdict="structural",
            guilty="fused",
            moment=turn_state.moment.at(stage),
            column=contract.argument if contract else "",
            fused=contract.value if contract else type(error).__name__,
            reference=contract.expected if contract else None,
            rule=contract.rule if contract else RAISED,
            message=str(error) if contract else f"stage {stage} raised {type(error).__name__}: {error}",
            path="fused",
        ),
    )


def finding_of_invalid_result(turn_state: TurnState, stage: str, invalid: InvalidStageResultError) -> Finding:
    """Return the finding of an invalid stage result."""
    return Finding(
        verdict="structural",
        guilty="fused",
        moment=turn_state.moment.at(stage),
        column=invalid.column,
        fused=invalid.came,
        reference=invalid.expected,
        rule=SHAPE,
        message=f"stage {stage} does not give what the seam prescribes: {invalid}",
        path="fused",
    )
