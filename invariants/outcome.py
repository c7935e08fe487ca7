"""The outcome of one rule at one step: held, violated, or not checked and why; and outcomes counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tracing.finding import Finding


@dataclass(frozen=True, slots=True)
class Held:
    """The rule looked at the step and found nothing wrong.

    Attributes:
        rule: Rule id.
    """

    rule: str


@dataclass(frozen=True, slots=True)
class Violated:
    """The rule found something wrong.

    Attributes:
        rule: Rule id.
        findings: What and where, at least one.
    """

    rule: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class NotChecked:
    """The rule could not look, or there was nothing to look at; never a pass.

    Attributes:
        rule: Rule id.
        reason: One clause for a person, e.g. `column visible was not recorded`.
        missing: Names of the inputs that were not there.
        vacuous: There was nothing to look at; rules that wait for this one may run.
    """

    rule: str
    reason: str
    missing: tuple[str, ...] = ()
    vacuous: bool = False


Outcome = Held | Violated | NotChecked


@dataclass(slots=True)
class Counts:
    """Outcomes of one rule over a run.

    Attributes:
        held, violated, not_checked: Steps (for run rules: ends of runs) per outcome.
        num_findings: Findings of all violated steps together.
        reasons: Why it was not checked, and how often.
        vacuous: Of `not_checked`, the steps that had nothing to look at.
        missing: Inputs that were not there, and how often.
    """

    held: int = 0
    violated: int = 0
    not_checked: int = 0
    num_findings: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    vacuous: int = 0
    missing: Counter[str] = field(default_factory=Counter)

    @property
    def looked(self) -> int:
        """Steps at which the rule looked."""
        return self.held + self.violated

    @property
    def main_reason(self) -> str:
        """Why it was most often not checked."""
        return max(self.reasons, key=self.reasons.__getitem__, default="nothing to look at")

    def add(self, outcome: Outcome, times: int = 1) -> None:
        """Count an outcome, once or for several steps that it speaks for."""
        match outcome:
            case Held():
                self.held += times
            case Violated(findings=findings):
                self.violated += times
                self.num_findings += times * len(findings)
            case NotChecked(reason=reason, missing=missing, vacuous=vacuous):
                self.not_checked += times
                self.reasons[reason] += times
                self.vacuous += times * vacuous
                self.missing.update(dict.fromkeys(missing, times))
