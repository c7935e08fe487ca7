"""One column of many steps as Arrow stores it, and how steps are cut out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invariants.rule import BoolArray, IntArray
from tracing.errors import UsageError


@dataclass(frozen=True, slots=True)
class Flat:
    """One column of S steps.

    Attributes:
        values: All entries of all steps, `[total]`; for a scalar column one per step, `[S]`. Text as objects.
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
    def lengths(self) -> IntArray:
        """Entries per step, `[S]`."""
        if self.offsets is None:
            raise UsageError("a scalar column has no lengths; values and offsets are expected here")
        return np.diff(self.offsets).astype(np.int64)

    @property
    def present(self) -> BoolArray:
        """True where the step has a value, `[S]`."""
        return np.ones(self.num_steps, dtype=np.bool_) if self.null is None else ~self.null


@dataclass(frozen=True, slots=True)
class Ragged:
    """A list column of G steps, entry after entry.

    Attributes:
        values: `[total]`.
        owner: Place in the group of each entry's step, `[total]`.
        place: Place of each entry in its list, `[total]`.
        lengths: Entries per step, `[G]`.
        starts: Where each step's entries begin in `values`, `[G]`.
    """

    values: NDArray[Any]
    owner: IntArray
    place: IntArray
    lengths: IntArray
    starts: IntArray

    @classmethod
    def cut(cls, column: Flat, rows: IntArray) -> Ragged:
        """Take the entries of some steps out of a column."""
        assert column.offsets is not None
        begins = column.offsets[rows].astype(np.int64)
        lengths = column.offsets[rows + 1].astype(np.int64) - begins
        starts = np.cumsum(lengths) - lengths
        owner = np.repeat(np.arange(len(rows)), lengths)
        place = np.arange(len(owner)) - starts[owner]
        return cls(column.values[begins[owner] + place], owner, place, lengths, starts)

    def any_step(self, bad: BoolArray) -> BoolArray:
        """Return which steps own a bad entry, `[G]`."""
        return np.bincount(self.owner, weights=bad, minlength=len(self.lengths)) > 0

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


def table(values: NDArray[Any], offsets: NDArray[Any], rows: IntArray) -> NDArray[Any]:
    """Return entries of steps that have equally many, `[G, width]`; a view when they are neighbours."""
    start = int(offsets[rows[0]])
    width = int(offsets[rows[0] + 1]) - start
    if rows[-1] - rows[0] + 1 == len(rows):
        return values[start : start + width * len(rows)].reshape(len(rows), width)
    first, last = int(offsets[0]), int(offsets[-1])
    if last - first == width * (len(offsets) - 1) and (np.diff(offsets) == width).all():
        entries: NDArray[Any] = values[first:last].reshape(-1, width)[rows]
        return entries
    return np.stack([values[begin : begin + width] for begin in offsets[rows].tolist()])
