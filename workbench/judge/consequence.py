"""After a finding, later ones may only be its consequence, until the paths were put in step again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tracing.finding import Finding


class Consequences:
    """Marks findings as they come; a new turn begins with a prefill and is in step by itself."""

    def __init__(self) -> None:
        self._cause: tuple[int, int, int, int] | None = None

    def mark(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """Return the findings with `consequence` set on those of a later stage than the first one.

        Findings of the first one's own stage of the same step stay independent of it: which of them is the
        cause is told by their order. Warnings cause nothing.
        """
        return tuple(self._mark_one(finding) for finding in findings)

    def resync(self) -> None:
        """Say that both paths were rebuilt from the same ids: what comes now is independent."""
        self._cause = None

    def _mark_one(self, finding: Finding) -> Finding:
        """Mark one finding and remember it when it is a cause."""
        place = (*finding.moment.place, finding.moment.stage_number)
        turn = place[:2]
        if self._cause is not None and self._cause[:2] == turn and place > self._cause:
            return replace(finding, consequence=True)
        if finding.severity == "error" and (self._cause is None or self._cause[:2] != turn):
            self._cause = place
        return finding
