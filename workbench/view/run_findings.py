"""The findings of a run: recorded ones, differences of two runs, and what was found while looking."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from tracing.finding import Finding, identity
from tracing.moment import Moment
from tracing.reader import Run
from workbench.view.timeline import Key


class RunFindings:
    """Findings in the order of the files, and which of them a step has.

    Attributes:
        owners: The side that each belongs to, where there are two runs; empty for one run.
    """

    def __init__(self, run: Run, other: Run | None) -> None:
        self._run, self._other = run, other
        self._differences: tuple[Finding, ...] = ()
        self._checked: list[Finding] = []
        self.all: list[Finding] = []
        self.owners: list[str] = []
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
        """Count anew, after a run was read again."""
        own, others = self._run.findings, self._other.findings if self._other is not None else []
        self.all = [*own, *others, *self._differences, *self._checked]
        if self._other is not None:
            left, right, *_ = (*labels, "", "")
            self.owners = [left] * len(own) + [right] * len(others)
            self.owners += [""] * len(self._differences) + [left] * len(self._checked)
        self._numbers = {}
        for number, finding in enumerate(self.all):
            self._numbers.setdefault(finding.moment.place, []).append(number)


class FindingOrder:
    """Sorted by step, and within a step as they were written."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self._findings = findings
        self._marks: list[tuple[int, int, int, int]] = sorted(
            (*finding.moment.place, number) for number, finding in enumerate(findings)
        )

    def next(self, moment: Moment, number: int | None, direction: int) -> int | None:
        """Return the number of the finding after or before a place, None where there is none.

        Args:
            moment: The step that is shown.
            number: The finding that was gone to last, None for none in this step.
            direction: 1 or -1.
        """
        edge = -1 if direction > 0 else len(self._marks)
        here = (moment.prompt_id, moment.turn, moment.step, edge if number is None else number)
        if direction > 0:
            place = bisect.bisect_right(self._marks, here)
        else:
            place = bisect.bisect_left(self._marks, here) - 1
        return self._marks[place][3] if 0 <= place < len(self._marks) else None

    def first_divergence(self) -> int | None:
        """Return the first finding that is an error and no consequence, else the first; None without any."""
        own = (
            mark[3]
            for mark in self._marks
            if not self._findings[mark[3]].consequence and self._findings[mark[3]].severity == "error"
        )
        return next(own, self._marks[0][3] if self._marks else None)
