"""Rules over steps: one step at a time, or a whole run with what must be remembered between steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from invariants.catalogue import BY_ID
from invariants.context import RunContext
from invariants.evaluate import evaluate
from invariants.inputs import Inputs, Row
from invariants.outcome import Held, NotChecked, Outcome, Violated
from invariants.rule import Rule
from invariants.selection import Selection


@dataclass(slots=True)
class Counts:
    """How often a rule said what.

    Attributes:
        held, violated, not_checked: Steps (for run rules: ends of runs), per outcome.
        findings: Findings of all violated steps together.
        reasons: Why it was not checked, and how often.
    """

    held: int = 0
    violated: int = 0
    not_checked: int = 0
    findings: int = 0
    reasons: dict[str, int] | None = None

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        match outcome:
            case Held():
                self.held += 1
            case Violated(findings=findings):
                self.violated += 1
                self.findings += len(findings)
            case NotChecked(reason=reason):
                self.not_checked += 1
                self.reasons = self.reasons or {}
                self.reasons[reason] = self.reasons.get(reason, 0) + 1


def check_step(
    row: Row,
    *,
    previous: Row | None = None,
    first: Row | None = None,
    context: RunContext | None = None,
    selection: Selection | None = None,
    path: str = "fused",
) -> tuple[Outcome, ...]:
    """Return what every selected step and turn rule says about one step, in catalogue order.

    Args:
        row: Columns of the step.
        previous: The step before it in the same turn.
        first: The first step of the turn.
        context: Facts of the run.
        selection: Which rules; all when None.
        path: Whose step it is.
    """
    selection = selection or Selection()
    inputs = Inputs(row, previous, first, context or RunContext(), selection.thresholds)
    return evaluate(_per_step(selection.rules()), inputs, path, catalogue=BY_ID)


def _per_step(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Return the rules that can be run at a step."""
    return tuple(rule for rule in rules if rule.scope != "run")


class Checker:
    """Checks the steps of a run in order, several paths side by side.

    Attributes:
        counts: What each selected rule said so far, by path and rule id.
    """

    def __init__(self, context: RunContext | None = None, selection: Selection | None = None) -> None:
        self._context = context or RunContext()
        self._selection = selection or Selection()
        self._rules = self._selection.rules()
        self._turns: dict[str, _Turn] = {}
        self.counts: dict[str, dict[str, Counts]] = {}

    def step(self, path: str, row: Row) -> tuple[Outcome, ...]:
        """Check one finished step and remember what later steps need of it."""
        turn = self._turns.setdefault(path, _Turn())
        turn.enter(row)
        inputs = Inputs(row, turn.previous, turn.first, self._context, self._selection.thresholds)
        outcomes = evaluate(_per_step(self._rules), inputs, path, catalogue=BY_ID)
        turn.previous = row
        self._count(path, outcomes)
        return outcomes

    def forget(self, path: str) -> None:
        """Let the next step of a path begin anew, e.g. after its caches were rebuilt."""
        self._turns.pop(path, None)

    def _count(self, path: str, outcomes: tuple[Outcome, ...]) -> None:
        """Add outcomes to the counts."""
        counts = self.counts.setdefault(path, {})
        for outcome in outcomes:
            counts.setdefault(outcome.rule, Counts()).add(outcome)


@dataclass(slots=True)
class _Turn:
    """What the rules may look back at."""

    key: tuple[Any, Any] | None = None
    first: Row | None = None
    previous: Row | None = None

    def enter(self, row: Mapping[str, Any]) -> None:
        """Begin anew when the row belongs to another turn."""
        key = (row.get("prompt_id"), row.get("turn"))
        if key != self.key:
            self.key, self.first, self.previous = key, None, None
        if row.get("step") == 0 and self.previous is None:
            self.first = row
