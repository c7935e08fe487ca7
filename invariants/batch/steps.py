"""Columns of many steps as Arrow stores them, cut into groups of steps that have the same form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from invariants.batch.flat import Flat, Ragged, any_entry, table
from invariants.context import RunContext
from invariants.inputs import CONTEXT_NAMES, RECORDED
from invariants.needs import columns_read
from invariants.prefilter import Clause
from invariants.rule import BoolArray, IntArray
from tracing.columns import COLUMN_BY_NAME, NULL_ENTRIES, PER_NODE, PER_NODE_ROWS
from tracing.errors import UsageError

MAX_GROUP: Final = 1024
"""Steps judged together; more at once cost memory and no longer save time."""
UNKNOWN: Final = 2**62
"""Committed length at a first step that was not seen: no number of tokens counted from there is too large."""

SITES: Final = "index_sites"
SITE_FIELDS: Final = ("min", "max", "bound")
COLUMNS: Final = tuple(
    name
    for column in columns_read()
    for name in ([f"{SITES}.{each}" for each in SITE_FIELDS] if column == SITES else [column])
)
"""All columns that rules read; a struct column comes as one column per field."""


def _axes(name: str) -> tuple[str, ...]:
    """Return the axes of a flat column; none for a scalar."""
    return COLUMN_BY_NAME[name.partition(".")[0]].axes or ()


NODE_COLUMNS: Final = frozenset((*PER_NODE, *PER_NODE_ROWS))
"""Columns with a row per node; the length of other lists is not a matter of form."""


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
                bad |= column.present & _wrong_length(column.lengths, num_nodes, _axes(name))
        return bad

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
    def even(self) -> frozenset[str]:
        """Columns per node that have equally many entries at every step."""
        lengths = {name: column.lengths for name, column in self.columns.items() if name in NODE_COLUMNS}
        return frozenset(name for name, each in lengths.items() if (each == each[0]).all())

    @cached_property
    def forms(self) -> tuple[IntArray, list[bytes]]:
        """The number of each step's form, `[S]`, and the form of each number.

        Of one form are steps that agree, and whose steps before agree, in what must be the same within a
        group: which columns are there, and how many rows and entries those per node have.
        """
        own = [
            np.where(column.present, column.lengths if name in NODE_COLUMNS else 0, -1)
            for name, column in self.columns.items()
        ]
        numbers, mine = numbered(np.stack(own, axis=1))
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


class Group:
    """Steps of one form: what clauses name is a plain array, or not there at all.

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

    def has(self, *names: str) -> bool:
        """Return whether all columns are there."""
        return all(self._there(name, 0) for name in names)

    def arguments(self, clause: Clause) -> dict[str, Any] | None:
        """Return the arguments of a clause by name; None when one is not there."""
        found = {name: self.get(name) for name in clause.inputs}
        if any(value is None for value in found.values()):
            return None
        return found | {name: self.get(name) for name in clause.optional}

    def get(self, name: str) -> Any:
        """Return the value of an argument name of `invariants.prefilter`; None when it is not there."""
        if name not in self._cache:
            self._cache[name] = self._find(name)
        return self._cache[name]

    def __getitem__(self, name: str) -> Any:
        """Return a column that `has` has promised."""
        return self.get(name)

    def _find(self, name: str) -> Any:
        if name in CONTEXT_NAMES:
            return getattr(self._batch.context, name)
        if name in DERIVED:
            source, derive = DERIVED[name]
            values = self.get(source)
            return None if values is None else derive(values)
        if name == "first_committed_len":
            first = self._batch.first_committed_len
            return None if first is None else first[self.rows]
        column, rows_back = name.removeprefix("previous_"), int(name.startswith("previous_"))
        if rows_back and not self.has_previous:
            return None
        if column == RECORDED:
            return frozenset(each for each in self._batch.columns if self._there(each, rows_back))
        column = column.replace(f"{SITES}_", f"{SITES}.")
        return self._cut(column, rows_back) if self._there(column, rows_back) else None

    def _there(self, name: str, rows_back: int) -> bool:
        column = self._batch.columns.get(name)
        return column is not None and (column.null is None or not column.null[self.rows[0] - rows_back])

    def _cut(self, name: str, rows_back: int) -> Any:
        """Return a column of these steps or of those before: scalars as int64, `Ragged`, or a table."""
        column, rows = self._batch.columns[name], self.rows - rows_back
        if column.offsets is None:
            values = column.values[rows]
            return values.astype(np.int64) if values.dtype.kind == "i" else values
        if name not in NODE_COLUMNS:
            return Ragged(column, rows)
        cells = self._table(name, column.values, rows)
        if column.missing is None or name not in NULL_ENTRIES:
            return cells
        return np.ma.array(cells, mask=self._table(name, column.missing, rows), copy=False)

    def _table(self, name: str, entries: NDArray[Any], rows: IntArray) -> NDArray[Any]:
        """Return entries of a column per node, `[G, N]` or `[G, N, ...]`."""
        columns = self._batch.columns
        cells = table(entries, columns[name].starts, rows, even=name in self._batch.even)
        if len(_axes(name)) == 1:
            return cells
        num_nodes = int(np.diff(columns["parents"].starts[rows[0] : rows[0] + 2])[0])
        return cells.reshape(len(rows), num_nodes, -1)


def _drafts(valid: BoolArray) -> BoolArray:
    """Return where a node is valid and not the root, `[G, N]`."""
    live = valid.copy()
    live[:, 0] = False
    return live


def _in_tree(parents: IntArray) -> IntArray:
    """Return parents forced into range, `[G, N]`."""
    return np.clip(parents, 0, parents.shape[1] - 1).astype(np.int64)


DERIVED: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "drafts": ("valid", _drafts),
    "parents_in_tree": ("parents", _in_tree),
}
"""Arguments of clauses that are made of one column, by name."""


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
