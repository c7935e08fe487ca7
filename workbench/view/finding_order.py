"""Findings in the order of the run, to go through one by one."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from tracing.finding import Finding
from tracing.moment import Moment

Mark = tuple[int, int, int, int]


class FindingOrder:
    """Sorted by step, and within a step as they were written.

    Args:
        findings: Findings of the run.
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        self._findings = findings
        self._marks: list[Mark] = sorted(
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
