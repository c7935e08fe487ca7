"""What a run of a case showed, and what a runner is asked; plain data that crosses processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from workbench.reduce.case import RunCase


@dataclass(frozen=True, slots=True)
class Same:
    """What makes two findings the same.

    Attributes:
        rule, stage: Both must be equal.
        guilty: And who is blamed.
    """

    rule: str
    stage: str
    guilty: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseOutcome:
    """What a run of a case showed.

    Attributes:
        finding: The first of severity error, as JSON; None without one.
        emitted, num_accepted: Of each turn, tokens and accepted drafts of each uncut step; in the numbers of
            the whole vocabulary.
        committed_len: Tokens before the step of the finding.
        problem: Why the case could not be run, or empty.
        control: What is found of our own path on the same case, of one that kept the finding; or empty.
        trials: Runs that it took.
        seconds: All of them.
    """

    finding: Mapping[str, Any] | None = None
    emitted: tuple[tuple[int, ...], ...] = ()
    num_accepted: tuple[tuple[int, ...], ...] = ()
    committed_len: int = 0
    problem: str = ""
    control: str = ""
    trials: int = 1
    seconds: float = 0.0

    @property
    def same(self) -> Same | None:
        """What it has found."""
        found = self.finding
        return None if found is None else Same(found["rule"], found["stage"] or "", found["guilty"])

    def keeps(self, target: Same) -> bool:
        """Whether it shows the finding, and shows it of the path under test alone."""
        return self.same == target and not self.control

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, held: Mapping[str, Any]) -> CaseOutcome:
        """Return the outcome that `as_json` gave."""
        turns = {name: tuple(map(tuple, held[name])) for name in ("emitted", "num_accepted")}
        return cls(**{**held, **turns})


@dataclass(frozen=True, slots=True)
class CaseTrial:
    """What a worker is asked.

    Attributes:
        target: The finding that should stay; None runs once and takes what comes.
        most: Runs until it shows.
        control: Run our own path on a case that keeps the finding.
    """

    case: RunCase
    target: Same | None = None
    most: int = 1
    control: bool = True
