"""Columns of many steps as Arrow stores them, and which of the steps have the same form."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from invariants.batch.flat import Flat, any_entry
from invariants.batch.forms import COLUMNS, NODE_COLUMNS, axes_of, numbered
from invariants.context import RunContext
from invariants.rule import BoolArray, IntArray
from tracing.columns import NULL_ENTRIES
from tracing.errors import UsageError

UNKNOWN: Final = 2**62
"""Committed length at a first step that was not seen: no number of tokens counted from there is too large."""


class Batch:
    """S steps in the order of the trace.

    Attributes:
        columns: Those of `COLUMNS` that the trace has.
        context: Facts of the run.
        num_steps: S.
        has_previous: True where the step before is the row before, in the same turn, `[S]`.
    """

    def __init__(
        self,
        columns: Mapping[str, Flat],
        context: RunContext | None = None,
        *,
        first_committed_len: int | None = None,
    ) -> None:
        """Take columns as they are.

        Args:
            columns: Flat columns by name.
            context: Facts of the run.
            first_committed_len: Committed length at the first step of the turn that the batch begins in, when
                that step lies before the batch.

        Raises:
            UsageError: Columns have different numbers of steps.
        """
        self.columns = {name: columns[name] for name in COLUMNS if name in columns}
        self.context = context or RunContext()
        self._first_committed_len = first_committed_len
        sizes = {column.num_steps for column in self.columns.values()}
        if len(sizes) != 1:
            raise UsageError(f"columns should have one number of steps, got {sorted(sizes)}")
        self.num_steps = sizes.pop()
        self.has_previous = self._has_previous()

    def scalar(self, name: str) -> NDArray[Any] | None:
        """Return a scalar column of all steps, zero or None where null; None when absent."""
        column = self.columns.get(name)
        return None if column is None else column.values

    @cached_property
    def begins_turn(self) -> BoolArray:
        """True at steps with number 0, `[S]`."""
        steps = self.columns.get("step")
        return np.zeros(self.num_steps, np.bool_) if steps is None else steps.present & (steps.values == 0)

    @cached_property
    def opening(self) -> IntArray:
        """Number of the first step of the stretch of one turn that each step lies in, `[S]`."""
        begins = np.where(self.has_previous, 0, np.arange(self.num_steps))
        opening: IntArray = np.maximum.accumulate(begins)
        return opening

    @cached_property
    def first_committed_len(self) -> IntArray | None:
        """Committed length at the first step of each step's turn, `[S]`; `UNKNOWN` where it was not seen."""
        lengths = self.scalar("committed_len")
        if lengths is None:
            return None
        first = np.where(self.begins_turn, lengths, UNKNOWN)[self.opening]
        if self._first_committed_len is not None and not self.begins_turn[0]:
            first[self.opening == 0] = self._first_committed_len
        return first

    def _has_previous(self) -> BoolArray:
        same = np.arange(self.num_steps) > 0
        for name in ("prompt_id", "turn"):
            values = self.scalar(name)
            if values is not None:
                same[1:] &= values[1:] == values[:-1]
        return same

    def misshapen(self) -> BoolArray:
        """Return where lengths disagree (ROW001) or entries are null, `[S]`: steps for the loop."""
        parents = self.columns.get("parents")
        num_nodes = None if parents is None else np.where(parents.present, parents.lengths, -1)
        bad: BoolArray = np.zeros(self.num_steps, np.bool_) if num_nodes is None else num_nodes == 0
        for name, column in self.columns.items():
            if column.missing is not None and name not in NULL_ENTRIES:
                bad |= any_entry(column.missing, column.offsets, self.num_steps)
            if num_nodes is not None and name in NODE_COLUMNS:
                bad |= column.present & _wrong_length(column.lengths, num_nodes, axes_of(name))
        return bad

    @cached_property
    def even(self) -> frozenset[str]:
        """Columns per node that have equally many entries at every step."""
        lengths = {name: column.lengths for name, column in self.columns.items() if name in NODE_COLUMNS}
        return frozenset(name for name, each in lengths.items() if (each == each[0]).all())

    @cached_property
    def shapes(self) -> IntArray:
        """A number for each step that is the same where columns per node have equally many entries, `[S]`."""
        of_nodes = [name in NODE_COLUMNS for name in self.columns]
        return numbered(self._own[:, of_nodes])[0]

    @cached_property
    def _own(self) -> IntArray:
        """Entries of each step in columns per node, 0 in others, -1 where there is no value, `[S, C]`."""
        entries = [
            np.where(column.present, column.lengths if name in NODE_COLUMNS else 0, -1)
            for name, column in self.columns.items()
        ]
        return np.stack(entries, axis=1)

    @cached_property
    def own_forms(self) -> tuple[IntArray, list[bytes]]:
        """The number of each step's form, `[S]`, and the form of each number, whatever came before."""
        return numbered(self._own)

    @cached_property
    def forms(self) -> tuple[IntArray, list[bytes]]:
        """The number of each step's form, `[S]`, and the form of each number.

        Of one form are steps that agree, and whose steps before agree, in what must be the same within a
        group: which columns are there, and how many rows and entries those per node have.
        """
        numbers, mine = self.own_forms
        before = np.roll(numbers, 1)
        before[~self.has_previous] = -1
        pairs, known = numbered(np.stack([numbers, before], axis=1))
        codes = (np.frombuffer(pair, dtype=np.int64).tolist() for pair in known)
        names = ",".join(self.columns).encode()  # a block may lack a column that another one has
        return pairs, [
            names + mine[number] + (b"" if former < 0 else mine[former]) for number, former in codes
        ]


def _wrong_length(lengths: IntArray, num_nodes: IntArray, axes: tuple[str, ...]) -> Any:
    """Return where a column per node has another number of rows, or a square one is not square, `[S]`."""
    if len(axes) > 1 and axes[1] != "N":
        return np.remainder(lengths, np.maximum(num_nodes, 1)) > 0
    return np.not_equal(lengths, num_nodes ** len(axes))
