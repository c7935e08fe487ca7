"""Runs rules on the inputs of one moment, prerequisites first, and turns what they yield into findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from invariants.inputs import Inputs
from invariants.outcome import Held, NotChecked, Outcome, Violated
from invariants.rule import NotApplicableError, Rule, Violation
from tracing.finding import Finding
from tracing.moment import Moment

KEYS: Final = ("prompt_id", "turn", "step")


@dataclass(slots=True)
class Evaluation:
    """Outcomes of one moment; each rule is run at most once, prerequisites also when they are not selected.

    Attributes:
        inputs: What the arguments of rules stand for.
        path: Name of the path whose step it is.
        catalogue: All rules by id.
        outcomes: What was found so far, by rule id.
    """

    inputs: Inputs
    path: str
    catalogue: Mapping[str, Rule]
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def outcome(self, rule: Rule) -> Outcome:
        """Return what a rule says, running it if it has not run."""
        if rule.id not in self.outcomes:
            self.outcomes[rule.id] = self._unready(rule) or self._run(rule)
        return self.outcomes[rule.id]

    def _unready(self, rule: Rule) -> NotChecked | None:
        """Return why a rule cannot look: an input is missing or a prerequisite does not hold."""
        missing = tuple(name for name in rule.inputs if self.inputs.get(name) is None)
        if missing:
            return NotChecked(rule.id, self.inputs.why_missing(missing[0]), missing)
        for required in rule.requires:
            match self.outcome(self.catalogue[required]):
                case Violated():
                    return NotChecked(rule.id, f"{required} is violated")
                case NotChecked(vacuous=False, reason=reason, missing=names):
                    return NotChecked(rule.id, f"{required} was not checked: {reason}", names)
                case _:
                    pass
        return None

    def _run(self, rule: Rule) -> Outcome:
        """Call the law and wrap what it yields."""
        arguments = {name: self.inputs.get(name) for name in rule.arguments}
        try:
            violations = tuple(rule.check(**arguments))
        except NotApplicableError as error:
            return NotChecked(rule.id, str(error), vacuous=True)
        if not violations:
            return Held(rule.id)
        return Violated(rule.id, tuple(self.finding(rule, violation) for violation in violations))

    def finding(self, rule: Rule, violation: Violation) -> Finding:
        """Add coordinates to a violation; on the reference path the value found is the reference's."""
        on_reference = self.path == "reference"
        place = violation.place
        if place is None:
            prompt_id, turn, step = (int(self.inputs.row.get(key) or 0) for key in KEYS)
        else:
            prompt_id, turn, step = place
        return Finding(
            verdict="structural",
            guilty=self.path,
            moment=Moment(prompt_id, turn, step, violation.stage or rule.stage, violation.node),
            column=violation.column,
            fused=None if on_reference else violation.found,
            reference=violation.found if on_reference else violation.expected,
            rule=rule.id,
            message=violation.message,
            severity=rule.severity,
            path=self.path,
        )
