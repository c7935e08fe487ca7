"""What became of one attack, and of many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

MAX_NOTES: Final = 5


@dataclass(slots=True)
class Outcome:
    """What became of one attack.

    Attributes:
        lost: Acknowledged steps or findings that are not there any more.
        unnoticed: Things that changed without a word, or are read though they do not belong.
        alarms: Things that were called damaged and are not.
        internal: Errors that are not meant for a user; exit code 70.
        notes: What happened, one sentence each.
    """

    lost: int = 0
    unnoticed: int = 0
    alarms: int = 0
    internal: int = 0
    notes: list[str] = field(default_factory=list)

    def say(self, kind: str, sentence: str) -> None:
        """Count one more of a kind, with a sentence."""
        setattr(self, kind, getattr(self, kind) + 1)
        self.notes.append(f"{kind}: {sentence}")


@dataclass(slots=True)
class Tally:
    """What became of many attacks.

    Attributes:
        lost, unnoticed, alarms, internal: As `Outcome` says, added up.
        over_memory: Attacks that took more memory than the bound.
        hung: Chunks that did not end in time.
        longest: Seconds of the longest attack.
        seconds: Seconds of all.
        notes: The first few sentences.
    """

    tried: int = 0
    lost: int = 0
    unnoticed: int = 0
    alarms: int = 0
    internal: int = 0
    over_memory: int = 0
    hung: int = 0
    longest: float = 0.0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing went wrong."""
        return not any((self.lost, self.unnoticed, self.alarms, self.internal, self.over_memory, self.hung))

    def take(self, outcome: Outcome, seconds: float, *, is_over: bool, at: str) -> None:
        """Add one attack."""
        self.tried += 1
        for kind in ("lost", "unnoticed", "alarms", "internal"):
            setattr(self, kind, getattr(self, kind) + getattr(outcome, kind))
        self.over_memory += is_over
        self.longest, self.seconds = max(self.longest, seconds), self.seconds + seconds
        notes = [*outcome.notes, *(["took more memory than the bound"] if is_over else [])]
        self.notes = [*self.notes, *(f"{at}: {note}" for note in notes)][:MAX_NOTES]

    def add(self, other: Tally) -> None:
        """Add those of another one."""
        for kind in ("tried", "lost", "unnoticed", "alarms", "internal", "over_memory", "hung", "seconds"):
            setattr(self, kind, getattr(self, kind) + getattr(other, kind))
        self.longest = max(self.longest, other.longest)
        self.notes = [*self.notes, *other.notes][:MAX_NOTES]

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def tally_of(data: Mapping[str, Any]) -> Tally:
    """Return the tally of plain data."""
    return Tally(**data)
