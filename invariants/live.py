"""Rules on the inputs of a stage, before it is launched; the law is the same as for a finished step."""

from __future__ import annotations

from invariants.catalogue import BY_ID
from invariants.context import RunContext
from invariants.evaluate import Evaluation
from invariants.inputs import RECORDED, Inputs, Row
from invariants.outcome import NotChecked, Outcome
from invariants.rule import Rule
from invariants.selection import Selection
from tracing.errors import UsageError
from tracing.moment import STAGES


def rules_before(stage: str, selection: Selection) -> tuple[Rule, ...]:
    """Return the selected step and turn rules that may read what exists before a stage runs.

    A rule of the stage itself is among them: `visible` is judged with verify, and exists before it. A rule
    about which columns a row has is not: the row is not finished.

    Raises:
        UsageError: There is no such stage.
    """
    if stage not in STAGES:
        raise UsageError(f"stage should be one of {', '.join(STAGES)}, got {stage!r}")
    ready = STAGES[: STAGES.index(stage) + 1]
    rules = (rule for rule in selection.rules() if rule.scope != "run" and rule.stage in ready)
    return tuple(rule for rule in rules if RECORDED not in rule.arguments)


def check_before(
    stage: str,
    columns: Row,
    *,
    previous: Row | None = None,
    first: Row | None = None,
    context: RunContext | None = None,
    selection: Selection | None = None,
    path: str = "fused",
) -> tuple[Outcome, ...]:
    """Return the outcomes of the rules whose inputs are all there; the others are left out.

    Args:
        stage: The stage about to run.
        columns: What is known of the step so far.
        previous: The step before it in the same turn.
        first: The first step of the turn.
        context: Facts of the run.
        selection: Which rules; all when None.
        path: Whose step it is.
    """
    selection = selection or Selection()
    inputs = Inputs(columns, previous, first, context or RunContext(), selection.thresholds)
    evaluation = Evaluation(inputs, path, BY_ID)
    outcomes = (evaluation.outcome(rule) for rule in rules_before(stage, selection))
    return tuple(each for each in outcomes if not (isinstance(each, NotChecked) and each.missing))
