"""The findings of a run, live or recorded: each once, the cause of a step first, consequences marked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from tracing.finding import Finding, identity
from workbench.judge.cause_order import Causes, Turn, cause_key
from workbench.judge.step import StepJudgement
from workbench.judge.verdict import Tally


def step_verdict(findings: Iterable[Finding]) -> str:
    """Return the verdict of a step's row: that of its first error, else `ok`."""
    return next((finding.verdict for finding in findings if finding.severity == "error"), "ok")


class FindingsLog:
    """Collects the findings of a run.

    After the first error of a turn, findings of later stages and steps are marked as its possible
    consequences, until a resync. So are findings of the error's own stage that are about the same quantity or
    about one that is computed from it. Warnings cause nothing.

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
        self._causes = Causes()

    def add(self, findings: Iterable[Finding], judgement: StepJudgement | None = None) -> tuple[Finding, ...]:
        """Take in findings and the judgement of a step.

        Returns:
            Those that are new, step by step and the cause first, with consequences marked.
        """
        found = [*findings, *(judgement.findings if judgement else ())]
        new = tuple(map(self._causes.marked, sorted(self._unknown(found), key=cause_key)))
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

    def found_before(self, cause: Finding) -> None:
        """Take in what was found after the others and lies before them, and mark what it may have caused."""
        known = tuple(self.findings)
        for new in self._unknown([cause]):
            self._causes = Causes()
            self.findings[:] = [self._causes.marked(each) for each in (new, *known)]
            if self._write is not None:
                self._write(new)
            self.tally.recount(self.findings)

    def resync(self, turn: Turn | None = None) -> None:
        """A turn, or all, was rebuilt from its ids: what is found from here on is independent."""
        self._causes.forget(turn)

    def _unknown(self, findings: Iterable[Finding]) -> Iterable[Finding]:
        for finding in findings:
            if (key := identity(finding)) not in self._known:
                self._known.add(key)
                yield finding
