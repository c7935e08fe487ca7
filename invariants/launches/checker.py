"""Runs the rules over launches and counts their outcomes, as `invariants.run.Checker` does for steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from invariants.catalogue import BY_ID
from invariants.context import RunContext
from invariants.evaluate import Evaluation
from invariants.inputs import Inputs
from invariants.launches.follow import Follower
from invariants.launches.rows import READ
from invariants.launches.view import LaunchView, UnknownError
from invariants.outcome import Counts, Held, NotChecked, Outcome, Violated
from invariants.rule import NotApplicableError, Rule
from invariants.selection import Selection

COLUMNS: Final = READ
"""Columns to read for `LaunchChecker`."""
Row = Mapping[str, Any]


class LaunchChecker:
    """Checks the launches of one path in their order.

    Args:
        path: Whose rows they are.
        context: Facts of the run.
        selection: Which rules; all when None.

    Attributes:
        counts: Outcomes of each selected rule so far, by rule id; a launch counts once.
    """

    def __init__(self, path: str, context: RunContext, selection: Selection | None = None) -> None:
        self._path, self._context = path, context
        self._rules = [rule for rule in (selection or Selection()).rules() if rule.scope == "launch"]
        self._follower = Follower(context)
        self.counts: dict[str, Counts] = {}

    def forget(self) -> None:
        """Begin anew: what stood before the next launch is lost."""
        self._follower = Follower(self._context)

    def launch(self, rows: Sequence[Row]) -> tuple[Outcome, ...]:
        """Check all rows of one launch, in the order of the trace; rows of no launch come alone."""
        outcomes: list[Outcome] = []
        for view in self._follower.launch(rows):
            for rule in self._rules:
                outcome = self._outcome(rule, view, rows)
                self.counts.setdefault(rule.id, Counts()).add(outcome)
                outcomes.append(outcome)
        return tuple(outcomes)

    def _outcome(self, rule: Rule, view: LaunchView, rows: Sequence[Row]) -> Outcome:
        missing = next((name for name in rule.reads if all(row.get(name) is None for row in rows)), None)
        if missing is not None:
            return NotChecked(rule.id, f"column {missing} was not recorded", (missing,))
        try:
            violations = tuple(rule.check(launched=view))
        except NotApplicableError as reason:
            return NotChecked(rule.id, str(reason), vacuous=True)
        except UnknownError as fact:
            return NotChecked(rule.id, f"{fact} of the run is not known", (str(fact),))
        if not violations:
            return Held(rule.id)
        evaluation = Evaluation(Inputs(rows[0]), self._path, BY_ID)
        return Violated(rule.id, tuple(evaluation.finding(rule, each) for each in violations))


def by_launch(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield neighbouring rows of one launch and data-parallel rank together; rows of no launch come alone."""
    gathered: list[Row] = []
    for row in rows:
        if gathered and (row.get("launch") is None or _key(row) != _key(gathered[0])):
            yield gathered
            gathered = []
        gathered.append(row)
    if gathered:
        yield gathered


def _key(row: Row) -> tuple[Any, Any]:
    return row.get("launch"), row.get("dp_rank")
