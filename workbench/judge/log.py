"""The findings of a run, live or recorded: each once, in the order of stages, consequences marked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from tracing.finding import Finding, identity
from workbench.judge.step import StepJudgement
from workbench.judge.verdict import Tally


def step_verdict(findings: Iterable[Finding]) -> str:
    """Return the verdict of a step's row: that of its first error, else `ok`."""
    return next((finding.verdict for finding in findings if finding.severity == "error"), "ok")


class FindingsLog:
    """Collects the findings of a run.

    After the first error of a turn, findings of later stages and steps are marked as its possible
    consequences, until a resync or the next turn. Findings of the error's own stage stay independent of it:
    their order shows which is the cause. Warnings cause nothing.

    Attributes:
        findings: Everything found so far, in order.
        tally: The verdict so far.
    """

    def __init__(self, tally: Tally, write: Callable[[Finding], None] | None = None) -> None:
        """Fold findings into `tally` and pass each new one to `write`."""
        self.findings: list[Finding] = []
        self.tally = tally
        self._write = write
        self._known: set[tuple[Any, ...]] = set()
        self._cause: tuple[int, int, int, int] | None = None

    def add(self, findings: Iterable[Finding], judgement: StepJudgement | None = None) -> tuple[Finding, ...]:
        """Take in findings and the judgement of a step.

        Returns:
            Those that are new, in the order of stages, with consequences marked.
        """
        found = [*findings, *(judgement.findings if judgement else ())]
        new = tuple(map(self._mark, sorted(self._unknown(found), key=lambda each: each.moment.stage_number)))
        self.findings.extend(new)
        if self._write is not None:
            for finding in new:
                self._write(finding)
        if judgement is not None:
            self.tally.add(replace(judgement, findings=()))
        self.tally.add_findings(new)
        return new

    def adopt(self, other: FindingsLog) -> None:
        """Append the findings of a path that decoded alone; they were written and tallied there."""
        self.findings.extend(other.findings)
        self._known |= other._known

    def resync(self) -> None:
        """Both paths were rebuilt from the same ids: what is found from here on is independent."""
        self._cause = None

    def _unknown(self, findings: Iterable[Finding]) -> Iterable[Finding]:
        for finding in findings:
            if (key := identity(finding)) not in self._known:
                self._known.add(key)
                yield finding

    def _mark(self, finding: Finding) -> Finding:
        """Mark a finding that an earlier one may have caused; remember the first error of a turn."""
        place = (*finding.moment.place, finding.moment.stage_number)
        same_turn = self._cause is not None and self._cause[:2] == place[:2]
        if same_turn and self._cause is not None and place > self._cause:
            return replace(finding, consequence=True)
        if finding.severity == "error" and not same_turn:
            self._cause = place
        return finding
