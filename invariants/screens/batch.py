"""Columns of many steps as Arrow stores them, cut into groups of steps that have the same form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from invariants.rule import BoolArray, IntArray
from invariants.screens.flat import Flat, Ragged, any_entry, table
from tracing.columns import NULL_ENTRIES, PER_NODE, PER_NODE_ROWS
from tracing.errors import UsageError

MAX_GROUP: Final = 1024
"""Steps judged together; more at once cost memory and no longer save time."""

FREE: Final = (
    "context_token_ids",
    "beam_flat_ids",
    "draft_parents",
    "accepted_nodes",
    "emitted_token_ids",
    "path_indices",
    "index_sites.min",
    "index_sites.max",
    "index_sites.bound",
)
"""Columns whose length is not a matter of form."""

SCALARS: Final = (
    "prompt_id",
    "turn",
    "step",
    "committed_len",
    "committed_len_after",
    "final_token_id",
    "stop_reason",
    "commit_mode",
    "commit_fallback",
    "prefix_kept",
    "kv_digest_before",
    "kv_digest_after",
    "incomplete",
)
"""Columns with one value per step."""

COLUMNS: Final = (*PER_NODE, *PER_NODE_ROWS, *FREE, *SCALARS)
"""All columns that screens read; a struct column comes as one column per field."""


class Batch:
    """S steps in the order of the trace.

    Attributes:
        columns: Those of `COLUMNS` that the trace has.
        num_steps: S.
        has_previous: True where the step before is the row before, in the same turn, `[S]`.
    """

    def __init__(self, columns: Mapping[str, Flat]) -> None:
        self.columns = {name: columns[name] for name in COLUMNS if name in columns}
        sizes = {column.num_steps for column in self.columns.values()}
        if len(sizes) != 1:
            raise UsageError(f"columns should have one number of steps, got {sorted(sizes)}")
        self.num_steps = sizes.pop()
        self.has_previous = self._has_previous()

    def scalar(self, name: str) -> NDArray[Any] | None:
        """Return a scalar column of all steps, zero or None where null; None when absent."""
        column = self.columns.get(name)
        return None if column is None else column.values

    def present(self, name: str) -> BoolArray:
        """Return where a column has a value, `[S]`."""
        column = self.columns.get(name)
        return np.zeros(self.num_steps, dtype=np.bool_) if column is None else column.present

    @property
    def begins_turn(self) -> BoolArray:
        """True at steps with number 0, `[S]`."""
        steps = self.scalar("step")
        return (
            np.zeros(self.num_steps, dtype=np.bool_) if steps is None else self.present("step") & (steps == 0)
        )

    def _has_previous(self) -> BoolArray:
        same = np.zeros(self.num_steps, dtype=np.bool_)
        same[1:] = True
        for name in ("prompt_id", "turn"):
            values = self.scalar(name)
            if values is not None:
                same[1:] &= values[1:] == values[:-1]
        return same

    def misshapen(self) -> BoolArray:
        """Return where lengths disagree or entries are null, `[S]`: steps for the loop."""
        bad = np.zeros(self.num_steps, dtype=np.bool_)
        parents = self.columns.get("parents")
        num_nodes = None if parents is None else np.where(parents.present, parents.lengths, -1)
        for name, column in self.columns.items():
            if column.missing is not None and name not in NULL_ENTRIES:
                bad |= any_entry(column.missing, column.offsets, self.num_steps)
            if num_nodes is None or column.offsets is None:
                continue
            if name in PER_NODE:
                bad |= column.present & (column.lengths != num_nodes)
            elif name == "visible":
                bad |= column.present & (column.lengths != num_nodes * num_nodes)
            elif name in PER_NODE_ROWS:
                bad |= column.present & (column.lengths % np.maximum(num_nodes, 1) != 0)
        return bad | (np.zeros(self.num_steps, np.bool_) if num_nodes is None else num_nodes == 0)

    def groups(self, left_out: BoolArray) -> Iterator[Group]:
        """Yield the other steps in groups of one form: same lengths and columns, also of the step before."""
        group_of = np.where(left_out, -1, self.forms[0])
        order = np.argsort(group_of, kind="stable")
        order = order[np.count_nonzero(left_out) :]
        borders = np.flatnonzero(np.diff(group_of[order])) + 1
        for rows in np.split(order, borders) if len(order) else ():
            for start in range(0, len(rows), MAX_GROUP):
                yield Group(self, rows[start : start + MAX_GROUP])

    @cached_property
    def forms(self) -> tuple[IntArray, list[bytes]]:
        """The number of each step's form, `[S]`, and what each number stands for.

        Of one form are steps that agree, and whose steps before agree, in what must be the same within a
        group: lengths or presence of every column.
        """
        own = []
        for name, column in self.columns.items():
            fixed = column.offsets is None or (name in FREE and name != "beam_flat_ids")
            own.append(column.present.astype(np.int64) - 1 if fixed else column.lengths)
            if not fixed:
                own[-1] = np.where(column.present, own[-1], -1)
        numbers, mine = numbered(np.stack(own, axis=1))
        before = np.roll(numbers, 1)
        before[~self.has_previous] = -1
        pairs, known = numbered(np.stack([numbers, before], axis=1))
        codes = (np.frombuffer(pair, dtype=np.int64).tolist() for pair in known)
        names = ",".join(self.columns).encode()  # a block may lack a column that another one has
        return pairs, [
            names + mine[number] + (b"" if former < 0 else mine[former]) for number, former in codes
        ]


class Group:
    """Steps of one form: every column is a plain array, or not there at all.

    Attributes:
        rows: Numbers of the steps in the batch, `[G]`.
        has_previous: Whether these steps have the step before them in the batch.
    """

    def __init__(self, batch: Batch, rows: IntArray) -> None:
        self._batch = batch
        self.rows = rows
        self.has_previous = bool(batch.has_previous[rows[0]])
        self._cache: dict[str, Any] = {}

    @property
    def size(self) -> int:
        """G."""
        return len(self.rows)

    @property
    def num_nodes(self) -> int:
        """N; 0 without `parents`."""
        parents = self.get("parents")
        return 0 if parents is None else int(parents.shape[1])

    def has(self, *names: str) -> bool:
        """Return whether all columns (or `previous_` columns) are there; cuts none of them out."""
        return all(self._there(name) for name in names)

    def _there(self, name: str) -> bool:
        column_name, rows_back = _column_of(name)
        column = self._batch.columns.get(column_name)
        if column is None or (rows_back and not self.has_previous):
            return False
        return column.null is None or not column.null[self.rows[0] - rows_back]

    def get(self, name: str) -> Any:
        """Return a column of these steps: `[G]`, `[G, N]`, `[G, N, K]` or `Ragged`; None when not there."""
        if name not in self._cache:
            column_name, rows_back = _column_of(name)
            self._cache[name] = self._cut(column_name, self.rows - rows_back) if self._there(name) else None
        return self._cache[name]

    def __getitem__(self, name: str) -> Any:
        """Return a column that `has` has promised."""
        return self.get(name)

    def _cut(self, name: str, rows: IntArray) -> Any:
        column = self._batch.columns[name]
        if column.offsets is None:
            return column.values[rows]
        if name in FREE and name != "beam_flat_ids":
            return Ragged.cut(column, rows)
        cells = table(column.values, column.offsets, rows)
        if name in PER_NODE_ROWS:
            num_nodes = int(self._batch.columns["parents"].lengths[rows[0]])
            return cells.reshape(len(rows), num_nodes, -1)
        return cells

    def absent_entries(self, name: str) -> BoolArray | None:
        """Return where entries of a table column are null, in the shape of the column; None when none is."""
        column = self._batch.columns[name]
        if column.missing is None or column.offsets is None:
            return None
        absent: BoolArray = table(column.missing, column.offsets, self.rows)
        return absent.reshape(self[name].shape)


def _column_of(name: str) -> tuple[str, int]:
    """Return the column that a name means, and how many steps back."""
    return (name.removeprefix("previous_"), 1) if name.startswith("previous_") else (name, 0)


def numbered(table: IntArray) -> tuple[IntArray, list[bytes]]:
    """Return the same number for equal rows, from 0, `[S]`, and the bytes of the row of each number.

    Runs of equal rows are the common case.
    """
    changes = np.ones(len(table), dtype=np.bool_)
    changes[1:] = (table[1:] != table[:-1]).any(axis=1)
    numbers: dict[bytes, int] = {}
    of_run = [numbers.setdefault(row.tobytes(), len(numbers)) for row in table[changes]]
    number_of: IntArray = np.array(of_run, dtype=np.int64)[np.cumsum(changes) - 1]
    return number_of, list(numbers)


__all__ = [
    "COLUMNS",
    "FREE",
    "PER_NODE",
    "PER_NODE_ROWS",
    "SCALARS",
    "Batch",
    "Flat",
    "Group",
    "Ragged",
    "numbered",
]
