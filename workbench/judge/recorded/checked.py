"""Results of the invariants on a recorded run: the value that all reports of a check are made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from invariants.outcome import Counts
from tracing.finding import Finding, has_error
from tracing.moment import Moment
from workbench.judge.cause_order import by_cause
from workbench.judge.recorded.pairs import Compared
from workbench.judge.share import Part, Share

WORST_FIRST: Final = (130, 70, 2, 3, 1, 4, 0)
"""Which exit code wins when several apply."""
DAMAGED: Final = "damaged"
OUTCOMES: Final = ("held", "violated", "not_checked")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedPath:
    """One path of a run.

    Attributes:
        name: Path name.
        num_steps: Readable steps, all of them checked.
        counts: Outcomes of each rule, by rule id, in catalogue order.
        findings: In order of steps, then of the run's end; at most as many per rule as were asked for.
        in_progress: Steps that had begun and never finished; their stage is where the writer was.
        rebuilt: Steps inside a turn that begin with a prefill: what is found from there on is independent.
        share: How much of what was declared was looked at; None for a path that was fed another's values.
    """

    name: str
    num_steps: int
    counts: Mapping[str, Counts]
    findings: tuple[Finding, ...] = ()
    in_progress: tuple[Moment, ...] = ()
    rebuilt: tuple[tuple[int, int, int], ...] = ()
    share: Share | None = None

    def first(self, rule_id: str) -> Finding | None:
        """Return the first finding of a rule."""
        return next((finding for finding in self.findings if finding.rule == rule_id), None)

    @property
    def num_held(self) -> int:
        """Times that a rule looked and found nothing wrong."""
        return sum(counts.held for counts in self.counts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRun:
    """One run.

    Attributes:
        folder: The run folder.
        state: `complete`, `truncated`, `torn` or `corrupt`, of `tracing.integrity`, or `unreadable`.
        status: In the manifest: `running`, `complete`, `interrupted`, `failed`, or empty.
        is_damaged: Something that was written is not there as it was.
        problems: What is damaged or missing, one sentence each.
        paths: The paths, as far as they can be read.
        compared: What comparing both paths of a staged run gave; None where that was not done.
        not_whole: Why the run may not be all that was to be recorded, one clause each.
        warnings: What was doubtful when its models were loaded, which no check of the run decides.
    """

    folder: Path
    state: str
    status: str
    is_damaged: bool = False
    problems: tuple[str, ...] = ()
    paths: tuple[CheckedPath, ...] = field(default=())
    compared: Compared | None = None
    not_whole: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Findings path by path, those of comparing with the path under test; causes first in each step."""
        between = self.compared.findings if self.compared else ()
        found: list[Finding] = []
        for path in self.paths:
            own = (*path.findings, *(finding for finding in between if finding.path == path.name))
            found += by_cause(own, path.rebuilt)
        return (*found, *(finding for finding in between if finding.path not in self._names))

    @property
    def _names(self) -> frozenset[str]:
        return frozenset(path.name for path in self.paths)

    @property
    def num_steps(self) -> int:
        """Steps of the path that has most."""
        return max((path.num_steps for path in self.paths), default=0)

    @property
    def invariants(self) -> dict[str, int]:
        """Outcomes of all rules on all paths, counted by kind."""
        every = [counts for path in self.paths for counts in path.counts.values()]
        return {key: sum(getattr(counts, key) for counts in every) for key in OUTCOMES}

    @property
    def has_errors(self) -> bool:
        """A rule of severity error is violated."""
        return has_error(self.findings)

    @property
    def verdict(self) -> str:
        """`structural`, `inconclusive` or `ok`."""
        if self.has_errors:
            return "structural"
        return "inconclusive" if self.is_damaged or self._why_inconclusive() else "ok"

    @property
    def share(self) -> Share:
        """What the verdict rests on: the share of the path of which least was looked at."""
        shares = [path.share for path in self.paths if path.share is not None]
        least = min(shares, key=lambda share: share.least, default=Share(Part(0, 0)))
        return replace(least, unknown=(*self.not_whole, *self._not_compared()))

    @property
    def state_remark(self) -> str:
        """What the state of the files leaves of the run; empty where they are as they were written."""
        if not self.is_damaged:
            return ""
        left = "only what is proven was checked" if self.paths else "nothing was checked"
        return f"the trace is damaged ({self.state}), {left}"

    @property
    def remark(self) -> str:
        """What qualifies the verdict, and what it rests on."""
        if self.is_damaged:
            return self.state_remark
        warned = sum(finding.severity == "warning" for finding in self.findings)
        notes = [
            self._why_inconclusive(),
            f"{warned} warnings" if warned else "",
            "the recorded run was interrupted" if self.status == "interrupted" else "",
            self.share.sentence,
        ]
        return ", ".join(dict.fromkeys(note for note in notes if note))

    @property
    def exit_code(self) -> int:
        """2 damaged, 1 findings, 4 inconclusive, 0 all held; warnings alone do not fail a run."""
        if self.is_damaged:
            return 2
        return {"structural": 1, "inconclusive": 4, "ok": 0}[self.verdict]

    def _why_inconclusive(self) -> str:
        """Return why a run without errors is still not fine, or an empty string."""
        if not any(path.num_steps for path in self.paths):
            return "no step was recorded"
        if not any(path.num_held for path in self.paths):
            return "no invariant applied"
        return self.share.why_not_ok()

    def _not_compared(self) -> list[str]:
        if self.compared is None or self.compared.both.is_enough or self.compared.reason:
            return []
        return [f"only {self.compared.both} steps are recorded on both paths"]


def worst(exit_codes: Iterable[int]) -> int:
    """Return the exit code of several runs; 0 for none."""
    return min(exit_codes, key=WORST_FIRST.index, default=0)
