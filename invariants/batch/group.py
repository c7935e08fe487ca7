"""Steps of one form as plain arrays, cut out of a batch's flat columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from invariants.batch.flat import Ragged, table
from invariants.batch.forms import NODE_COLUMNS, SITES, axes_of
from invariants.batch.steps import Batch
from invariants.inputs import CONTEXT_NAMES, RECORDED
from invariants.prefilter import Clause
from invariants.rule import BoolArray, IntArray
from tracing.columns import NULL_ENTRIES

MAX_GROUP: Final = 1024
"""Steps judged together; more at once cost memory and no longer save time."""
MIN_STRETCH: Final = 256
"""Steps of one form that a stretch should have on average; shorter ones are copied together."""
MIN_SHARE: Final = 0.75
"""Share of a stretch that such steps should be."""


def groups(batch: Batch, left_out: BoolArray, *, alone: bool = False) -> Iterator[Group]:
    """Yield the other steps in groups of one form: same lengths and columns, also of the step before.

    Args:
        batch: The steps.
        left_out: Those that are not wanted, `[S]`.
        alone: Whatever the step before is like; it is not at hand then.
    """
    group_of = np.where(left_out, -1, (batch.own_forms if alone else batch.forms)[0])
    order = np.argsort(group_of, kind="stable")
    order = order[np.count_nonzero(left_out) :]
    borders = np.flatnonzero(np.diff(group_of[order])) + 1
    for rows in np.split(order, borders) if len(order) else ():
        first = int(rows[0])
        has_previous = not alone and bool(batch.has_previous[first])
        for part, own in _with_neighbours(batch, rows, left_out, (0, 1) if has_previous else (0,)):
            for start in range(0, len(part), MAX_GROUP):
                some = slice(start, start + MAX_GROUP)
                if own is None or own[some].any():
                    mine = None if own is None else own[some]
                    yield Group(batch, part[some], first, mine, has_previous=has_previous)


def _with_neighbours(
    batch: Batch, rows: IntArray, left_out: BoolArray, alike: tuple[int, ...]
) -> Iterator[tuple[IntArray, BoolArray | None]]:
    """Yield steps of one form as they are, or in a few stretches without gaps, which need not be copied.

    Gaps are filled with steps that have as many nodes and entries, as have those before them, whatever
    else they record. Beside the stretch is which of its steps are not filled in, `[G]`.

    Args:
        batch: All steps.
        rows: Those of one form, ascending.
        left_out: Steps that fill no gap, `[S]`.
        alike: How far back the steps are that need as many nodes and entries.
    """
    first, span = int(rows[0]), int(rows[-1] - rows[0]) + 1
    if first >= alike[-1] and MIN_SHARE * span <= len(rows) < span:
        fits = ~left_out[first : rows[-1] + 1]
        for back in alike:
            shapes = batch.shapes[first - back : rows[-1] + 1 - back]
            fits &= shapes == shapes[0]
        stretches = np.flatnonzero(np.diff(fits, prepend=False, append=False)).reshape(-1, 2) + first
        if len(stretches) <= 1 + len(rows) // MIN_STRETCH:
            own = np.zeros(batch.num_steps, dtype=np.bool_)
            own[rows] = True
            for start, stop in stretches.tolist():
                yield np.arange(start, stop), own[start:stop]
            return
    yield rows, None


class Group:
    """Steps of one form: what clauses name is a plain array, or not there at all.

    Attributes:
        rows: Numbers of the steps in the batch, `[G]`.
        has_previous: Whether the steps before these are at hand.
    """

    def __init__(
        self,
        batch: Batch,
        rows: IntArray,
        first: int,
        own: BoolArray | None = None,
        *,
        has_previous: bool,
    ) -> None:
        """Take some steps.

        Args:
            batch: All steps.
            rows: Their numbers, ascending, `[G]`.
            first: Number of one of them that is not filled in.
            own: False where a step was filled in to close a gap, `[G]`; None where none was.
            has_previous: Whether the steps before them are asked for and are in the batch.
        """
        self._batch = batch
        self.rows = rows
        self.has_previous = has_previous
        self._first = first
        self._own = own
        self._has_gaps = rows[-1] - rows[0] + 1 > len(rows)
        self._cache: dict[str, Any] = {}

    def put(self, found: NDArray[Any], values: Any) -> None:
        """Enter one value per step into an array of the batch, `[S]`; none for steps that were filled in."""
        if self._own is None:
            found[self.rows] = values
        else:
            found[self.rows[self._own]] = np.broadcast_to(values, self.size)[self._own]

    @property
    def size(self) -> int:
        """G."""
        return len(self.rows)

    def has(self, *names: str) -> bool:
        """Return whether all columns are there."""
        return all(self._there(name, 0) for name in names)

    def arguments(self, clause: Clause) -> dict[str, Any] | None:
        """Return the arguments of a clause by name; None when one is not there."""
        found: dict[str, Any] = {}
        for name in clause.inputs:
            value = self.get(name)
            if value is None:
                return None
            found[name] = value
        for name in clause.optional:
            found[name] = self.get(name)
        return found

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
            return None if first is None else self._of(first)
        column, rows_back = name.removeprefix("previous_"), int(name.startswith("previous_"))
        if rows_back and not self.has_previous:
            return None
        if column == RECORDED:
            return frozenset(each for each in self._batch.columns if self._there(each, rows_back))
        column = column.replace(f"{SITES}_", f"{SITES}.")
        return self._cut(column, rows_back) if self._there(column, rows_back) else None

    def _of(self, values: NDArray[Any], rows_back: int = 0) -> NDArray[Any]:
        """Return the values of these steps or of those before, of one per step, `[S]`."""
        if self._has_gaps:
            return values[self.rows - rows_back]
        return values[self.rows[0] - rows_back : self.rows[-1] + 1 - rows_back]

    def _there(self, name: str, rows_back: int) -> bool:
        column = self._batch.columns.get(name)
        return column is not None and (column.null is None or not column.null[self._first - rows_back])

    def _cut(self, name: str, rows_back: int) -> Any:
        """Return a column of these steps or of those before: scalars as int64, `Ragged`, or a table."""
        column, rows = self._batch.columns[name], self.rows - rows_back
        if column.offsets is None:
            values = self._of(column.values, rows_back)
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
        if len(axes_of(name)) == 1:
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


def _above(parents_in_tree: IntArray) -> IntArray:
    """Return the place of each node's parent among the nodes of all steps, `[G, N]`."""
    size, num_nodes = parents_in_tree.shape
    return parents_in_tree + np.arange(0, size * num_nodes, num_nodes)[:, None]


DERIVED: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "drafts": ("valid", _drafts),
    "parents_in_tree": ("parents", _in_tree),
    "above": ("parents_in_tree", _above),
}
"""Arguments of clauses that are made of one column, by name."""
