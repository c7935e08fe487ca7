"""What requests write into a shared cache between two steps of one of them, in the order of the trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from invariants.rule import IntArray
from tracing.columns import KEY_COLUMNS

MAX_LOGGED: Final = 128
"""Writes that are remembered; a request that was away for longer has no neighbours."""
Turn = tuple[Any, Any]


@dataclass(frozen=True, slots=True)
class Writes:
    """Slots that one step of another request writes to.

    Attributes:
        at: Prompt, turn and step; None where one is not recorded.
        of_nodes: The slot of each node, pads included.
        rank: Data-parallel rank whose cache it is, or None.
    """

    at: tuple[int | None, ...]
    of_nodes: IntArray
    rank: int | None = None

    @property
    def place(self) -> str:
        """Prompt, turn and step as text."""
        return ":".join(str(each or 0) for each in self.at)

    @property
    def slots(self) -> IntArray:
        """Each slot that is not negative, once, in order."""
        distinct = np.unique(self.of_nodes)
        return distinct[distinct >= 0].astype(np.int64)


def writes_of(row: Mapping[str, Any]) -> Writes | None:
    """Return what a step writes; None where its slots are not recorded."""
    slots, rank = row.get("slots"), row.get("dp_rank")
    if slots is None or np.ma.getmaskarray(slots).any():
        return None
    at = tuple(row.get(name) for name in KEY_COLUMNS)
    return Writes(at, np.ma.getdata(slots), None if rank is None else int(rank))


@dataclass(slots=True)
class WriteLog:
    """The last steps of a path, request by request.

    Attributes:
        steps: Turn and writes of each, oldest first.
    """

    steps: list[tuple[Turn, Writes | None]] = field(default_factory=list)

    def add(self, turn: Turn, writes: Writes | None) -> None:
        """Remember a step."""
        self.steps.append((turn, writes))
        if len(self.steps) > MAX_LOGGED:
            self.steps.pop(0)

    def between(self, turn: Turn) -> tuple[Writes, ...] | None:
        """Return what other requests wrote since the last step of a turn.

        None where none did, where that step is forgotten, or where a request took two steps: this one was
        then left out of a launch, and may have been given other blocks.
        """
        others: dict[Turn, Writes | None] = {}
        for other, writes in reversed(self.steps):
            if other == turn:
                found = tuple(each for each in reversed(others.values()) if each is not None)
                return found or None
            if other in others:
                return None
            others[other] = writes
        return None
