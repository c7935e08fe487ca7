"""Outcomes of each rule, counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from invariants.outcome import Held, NotChecked, Outcome, Violated


@dataclass(slots=True)
class Counts:
    """Outcomes of one rule over a run.

    Attributes:
        held, violated, not_checked: Steps (for run rules: ends of runs) per outcome.
        num_findings: Findings of all violated steps together.
        reasons: Why it was not checked, and how often.
    """

    held: int = 0
    violated: int = 0
    not_checked: int = 0
    num_findings: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

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
            case NotChecked(reason=reason):
                self.not_checked += times
                self.reasons[reason] += times
