"""One column of many steps as Arrow stores it, and how steps are cut out of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invariants.rule import BoolArray, IntArray
from tracing.errors import UsageError


class Bits:
    """Truths of all steps, one bit each, lowest first; only what is asked for is unpacked.

    Args:
        packed: The bits.
        start: The first one that counts.
        length: How many there are.
    """

    def __init__(self, packed: NDArray[np.uint8], start: int, length: int) -> None:
        self._packed, self._start, self._length = packed, start, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, wanted: slice | IntArray) -> BoolArray:
        """Return some of them, `[total]`."""
        if not isinstance(wanted, slice):
            return self[:][wanted]
        start, stop, _ = wanted.indices(self._length)
        first, skipped = divmod(self._start + start, 8)
        count = skipped + max(stop - start, 0)
        found = np.unpackbits(self._packed[first:], count=count, bitorder="little")
        return found[skipped:].view(np.bool_)


@dataclass(frozen=True, slots=True)
class Flat:
    """One column of S steps.

    Attributes:
        values: All entries of all steps, `[total]`; for a scalar column one per step, `[S]`. Text as objects,
            a table of truths per step as `Bits`.
        offsets: Where each step's entries begin and the last one's end, `[S + 1]`; None for a scalar column.
        null: True where the step has no value, `[S]`; None when every step has one.
        missing: True where an entry is null, `[total]`; None when none is.
    """

    values: NDArray[Any]
    offsets: NDArray[Any] | None = None
    null: BoolArray | None = None
    missing: BoolArray | None = None

    @property
    def num_steps(self) -> int:
        """S."""
        return len(self.values) if self.offsets is None else len(self.offsets) - 1

    @property
    def starts(self) -> IntArray:
        """Where each step's entries begin and the last one's end, `[S + 1]`.

        Raises:
            UsageError: The column holds one value per step.
        """
        if self.offsets is None:
            raise UsageError("a scalar column has no lengths; values and offsets are expected here")
        return self.offsets

    @property
    def lengths(self) -> IntArray:
        """Entries per step, `[S]`."""
        return np.diff(self.starts).astype(np.int64)

    @property
    def present(self) -> BoolArray:
        """True where the step has a value, `[S]`."""
        return np.ones(self.num_steps, dtype=np.bool_) if self.null is None else ~self.null


class Ragged:
    """A list column of G steps, entry after entry; what is not asked for is not cut out.

    Attributes:
        lengths: Entries per step, `[G]`.
        starts: Where each step's entries begin in `values`, `[G]`.
    """

    def __init__(self, column: Flat, rows: IntArray) -> None:
        """Take the entries of some steps out of a list column."""
        begins, ends = column.starts[rows].astype(np.int64), column.starts[rows + 1].astype(np.int64)
        self._column, self._begins = column, begins
        self._neighbours = slice(begins[0], ends[-1]) if rows[-1] - rows[0] + 1 == len(rows) else None
        self.lengths: IntArray = ends - begins
        self.starts: IntArray = np.cumsum(self.lengths) - self.lengths

    @cached_property
    def owner(self) -> IntArray:
        """Place in the group of each entry's step, `[total]`."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @cached_property
    def place(self) -> IntArray:
        """Place of each entry in its list, `[total]`."""
        return np.arange(len(self.owner)) - np.repeat(self.starts, self.lengths)

    @cached_property
    def values(self) -> NDArray[Any]:
        """All entries, `[total]`."""
        if self._neighbours is not None:
            return self._column.values[self._neighbours]
        entries: NDArray[Any] = self._column.values[np.repeat(self._begins, self.lengths) + self.place]
        return entries

    def any_step(self, bad: BoolArray) -> BoolArray:
        """Return which steps own a bad entry, `[G]`."""
        found = np.zeros(len(self.lengths), dtype=np.bool_)
        found[self.owner[bad]] = True
        return found

    def last(self, empty: int) -> NDArray[Any]:
        """Return each step's last entry, `[G]`; `empty` where there is none."""
        found = np.full(len(self.lengths), empty, dtype=np.int64)
        full = self.lengths > 0
        found[full] = self.values[(self.starts + self.lengths - 1)[full]]
        return found


def any_entry(bad: BoolArray, offsets: NDArray[Any] | None, num_steps: int) -> BoolArray:
    """Return which steps have a bad entry, `[S]`."""
    if offsets is None:
        return bad[:num_steps]
    total = np.concatenate([[0], np.cumsum(bad)])
    flagged: BoolArray = total[offsets[1:]] > total[offsets[:-1]]
    return flagged


def table(values: NDArray[Any], offsets: NDArray[Any], rows: IntArray, *, even: bool) -> NDArray[Any]:
    """Return entries of steps that have equally many, `[G, width]`; a view when they are neighbours.

    Args:
        values: All entries of all steps, `[total]`.
        offsets: Where each step's entries begin, `[S + 1]`.
        rows: Numbers of the steps, `[G]`, ascending.
        even: Whether all S steps have equally many entries.
    """
    start = int(offsets[rows[0]])
    width = int(offsets[rows[0] + 1]) - start
    if rows[-1] - rows[0] + 1 == len(rows):
        return values[start : start + width * len(rows)].reshape(len(rows), width)
    if even:
        return values[int(offsets[0]) : int(offsets[-1])].reshape(-1, width).take(rows, axis=0)
    return np.stack([values[begin : begin + width] for begin in offsets[rows].tolist()])
