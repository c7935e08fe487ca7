"""The findings of a run: recorded ones, differences of two runs, and what was found while looking."""

from __future__ import annotations

from collections.abc import Sequence

from tracing.finding import Finding, identity
from tracing.reader import Run
from workbench.view.timeline import FindingCounts, Key


class RunFindings:
    """Findings in the order of the files, and which of them a step has.

    Args:
        run: The run.
        other: The run it is compared with, if any.

    Attributes:
        all: All of them.
        owners: The side that each belongs to, where there are two runs; empty for one run.
        counts: How many each step has.
    """

    def __init__(self, run: Run, other: Run | None) -> None:
        self._run, self._other = run, other
        self._differences: tuple[Finding, ...] = ()
        self._checked: list[Finding] = []
        self.all: list[Finding] = []
        self.owners: list[str] = []
        self.counts = FindingCounts.of(())
        self._numbers: dict[Key, list[int]] = {}

    def of_step(self, key: Key) -> tuple[tuple[int, Finding], ...]:
        """Return the findings of one step with their numbers."""
        return tuple((number, self.all[number]) for number in self._numbers.get(key, ()))

    def set_differences(self, found: Sequence[Finding], labels: Sequence[str]) -> None:
        """Take over where two runs differ."""
        self._differences = tuple(found)
        self.count(labels)

    def add_checked(self, found: Sequence[Finding], labels: Sequence[str]) -> list[int]:
        """Add what was found just now, once each, and return the numbers."""
        self._checked += [each for each in found if self._number_of(each) is None]
        self.count(labels)
        return [number for each in found if (number := self._number_of(each)) is not None]

    def _number_of(self, finding: Finding) -> int | None:
        """Return the number of the same finding, whoever made it."""
        same = identity(finding)
        of_step = self.of_step(finding.moment.place)
        return next((number for number, each in of_step if identity(each) == same), None)

    def count(self, labels: Sequence[str]) -> None:
        """Count anew, after a run was read again.

        Args:
            labels: Names of the sides.
        """
        own, others = self._run.findings, self._other.findings if self._other is not None else []
        self.all = [*own, *others, *self._differences, *self._checked]
        if self._other is not None:
            left, right, *_ = (*labels, "", "")
            self.owners = [left] * len(own) + [right] * len(others)
            self.owners += [""] * len(self._differences) + [left] * len(self._checked)
        self.counts = FindingCounts.of(self.all)
        self._numbers = {}
        for number, finding in enumerate(self.all):
            self._numbers.setdefault(finding.moment.place, []).append(number)
