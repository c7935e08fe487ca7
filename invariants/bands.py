"""Counts of drafts tried and accepted along one axis of a run, in memory that does not grow with the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from invariants.facts import Facts
from invariants.rule import IntArray

MAX_BINS: Final = 1024
"""Bins of an axis; when there are more, neighbours are merged and bins become twice as wide."""
NUM_DEPTHS: Final = 3
"""Depths that are counted apart: the first, the second, and all below."""
Place = tuple[int, int, int]
"""Prompt, turn and step."""


def tries(facts: Facts) -> IntArray:
    """Return how often a path could go on to a depth, and did, `[S, NUM_DEPTHS, 2]`."""
    accepted = facts.num_accepted
    passed = np.stack([accepted >= 1, accepted >= 2, np.maximum(accepted - 2, 0)], axis=1)
    stopped = np.stack([accepted == 0, accepted == 1, accepted >= 2], axis=1) & facts.could_go_on[:, None]
    return np.stack([passed + stopped, passed], axis=2).astype(np.int64)


@dataclass(slots=True)
class Axis:
    """Tries by their place along one axis, e.g. by committed length.

    Attributes:
        width: Values that share a bin.
        counts: Tries and passes of each bin, depth after depth (`NUM_DEPTHS * 2` numbers), by its number.
        first: The first step of each bin: how many steps were seen before it, and its place.
    """

    width: int = 1
    counts: dict[int, tuple[int, ...]] = field(default_factory=dict)
    first: dict[int, tuple[int, Place]] = field(default_factory=dict)

    def add(self, values: IntArray, tried: IntArray, seen: int, places: IntArray) -> None:
        """Count steps.

        Args:
            values: Where each step is on the axis, `[S]`; steps below zero are not on it.
            tried: Their tries, `[S, NUM_DEPTHS, 2]`.
            seen: Steps seen before these.
            places: Prompt, turn and step, `[S, 3]`.
        """
        while self._num_bins_with(values) > MAX_BINS:
            self._halve()
        numbers = values // self.width
        order = np.argsort(numbers, kind="stable")
        of_bins = np.flatnonzero(np.diff(numbers[order], prepend=numbers[order[:1]] - 1))
        begins = order[of_bins]
        sums = np.add.reduceat(tried.reshape(len(tried), -1)[order], of_bins, axis=0)
        firsts = zip(begins.tolist(), places[begins].tolist(), strict=True)
        for number, (begin, place), added in zip(
            numbers[begins].tolist(), firsts, sums.tolist(), strict=True
        ):
            if number >= 0:
                self._put(number, tuple(added), (seen + begin, tuple(place)))

    def _num_bins_with(self, values: IntArray) -> int:
        numbers = np.sort(values // self.width)
        found = numbers[np.flatnonzero(np.diff(numbers, prepend=-1))]
        return len(self.counts.keys() | set(found[found >= 0].tolist()))

    def _put(self, number: int, added: tuple[int, ...], first: tuple[int, Place]) -> None:
        known = self.counts.get(number, (0,) * len(added))
        self.counts[number] = tuple(map(sum, zip(known, added, strict=True)))
        self.first[number] = min(first, self.first.get(number, first))

    def _halve(self) -> None:
        counts, first = self.counts, self.first
        self.width, self.counts, self.first = 2 * self.width, {}, {}
        for number, each in counts.items():
            self._put(number // 2, each, first[number])


@dataclass(slots=True)
class Bands:
    """The axes along which acceptance is looked at, in the order in which they are preferred as explanation.

    Attributes:
        prompt: The prompt, which is the request where an engine serves many.
        batch_row: Row of the request in its batch, where that is recorded.
        length: Committed length.
        in_block: Committed length modulo 128, the size of a cache block or a multiple of it.
        in_small_block: Committed length modulo 16.
        step: Number of the step in its turn.
        time: Number of the step in the run.
    """

    prompt: Axis = field(default_factory=Axis)
    batch_row: Axis = field(default_factory=Axis)
    length: Axis = field(default_factory=Axis)
    in_block: Axis = field(default_factory=Axis)
    in_small_block: Axis = field(default_factory=Axis)
    step: Axis = field(default_factory=Axis)
    time: Axis = field(default_factory=Axis)

    def add(self, facts: Facts, seen: int) -> None:
        """Count uncut steps; `seen` steps came before."""
        if not len(facts.num_accepted):
            return
        tried = tries(facts)
        places = np.stack([facts.prompt_id, facts.turn, facts.step], axis=1)
        length = np.maximum(facts.committed_len, 0)
        values = {
            "prompt": facts.prompt_id,
            "batch_row": facts.batch_row,
            "length": length,
            "in_block": length % 128,
            "in_small_block": length % 16,
            "step": facts.step,
            "time": seen + np.arange(len(length)),
        }
        for name, each in values.items():
            getattr(self, name).add(each, tried, seen, places)
