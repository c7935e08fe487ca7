"""Which columns two recordings are compared by, and the first row in which one column differs.

Columns come as Arrow arrays (recognised by their methods; nothing of Arrow is imported) or as numpy: an
array `[rows]`, or a pair `(values, offsets[rows + 1])` for lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracing.columns import COLUMNS, KEY_COLUMNS
from tracing.moment import STAGES


@dataclass(frozen=True, slots=True)
class AlignColumn:
    """One compared column.

    Attributes:
        name: Column name.
        stage: Stage that produces it, or `any`.
        per_node: Its first axis is N.
    """

    name: str
    stage: str
    per_node: bool


def default_columns(*, bits: bool = True, lacks: frozenset[str] = frozenset()) -> tuple[AlignColumn, ...]:
    """Return the columns to compare, in the order in which a step makes them.

    Args:
        bits: Compare floats and digests too, bit by bit; False for runs of different machines or dtypes.
        lacks: Columns that one of the runs cannot have.
    """
    chosen = [
        column
        for column in COLUMNS
        if column.name not in KEY_COLUMNS
        and column.name not in lacks
        and column.compared
        and (bits or column.kind not in {"float32", "float64", "uint64"})
    ]
    order = ("any", *STAGES)
    chosen.sort(key=lambda column: order.index(column.stage))
    return tuple(
        AlignColumn(column.name, column.stage, bool(column.axes and column.axes[0] == "N"))
        for column in chosen
    )


@dataclass(frozen=True, slots=True)
class FlatColumn:
    """A column as numpy.

    Attributes:
        values: All elements, `[E]`, or one per row.
        offsets: Where each row's elements begin and end, int64 `[rows + 1]`; None for one value per row.
        present: False for nulls, `[rows]`.
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64] | None
    present: NDArray[np.bool_]

    def row(self, number: int) -> Any:
        """Return one row: None, a value, or an array."""
        if not self.present[number]:
            return None
        if self.offsets is None:
            return self.values[number]
        return self.values[self.offsets[number] : self.offsets[number + 1]]


def part(column: Any, start: int, stop: int) -> Any:
    """Return rows `start .. stop-1` without copying."""
    if hasattr(column, "slice"):
        return column.slice(start, stop - start)
    if isinstance(column, tuple):
        values, offsets = column
        return values, offsets[start : stop + 1]
    return column[start:stop]


def num_rows(column: Any) -> int:
    """Return the number of rows of a column."""
    return len(column[1]) - 1 if isinstance(column, tuple) else len(column)


_FILLERS: Final = {"string": "", "large_string": "", "bool": False}
"""Value of a null in an array of each Arrow type; 0 for numbers. `present` marks the nulls."""


def flat(column: Any) -> FlatColumn:
    """Return a column as numpy."""
    if isinstance(column, tuple):
        values, offsets = column
        return FlatColumn(np.asarray(values), np.asarray(offsets), np.ones(len(offsets) - 1, dtype=np.bool_))
    if not hasattr(column, "is_null"):
        values = np.asarray(column)
        return FlatColumn(values, None, np.ones(len(values), dtype=np.bool_))
    if hasattr(column, "combine_chunks"):
        column = column.combine_chunks()
    if hasattr(column, "dictionary_decode"):
        column = column.dictionary_decode()
    present = ~column.is_null().to_numpy(zero_copy_only=False)
    if hasattr(column, "offsets"):
        return FlatColumn(column.values.to_numpy(zero_copy_only=False), column.offsets.to_numpy(), present)
    if column.null_count:
        column = column.fill_null(_FILLERS.get(str(column.type), 0))
    return FlatColumn(column.to_numpy(zero_copy_only=False), None, present)


def first_difference(left: Any, right: Any) -> int | None:
    """Return the first row in which two columns of as many rows differ, bit by bit, or None."""
    if hasattr(left, "equals") and left.type == right.type and left.equals(right):
        return None
    ours, theirs = flat(left), flat(right)
    rows = len(ours.present)
    wrong = ours.present != theirs.present
    if ours.offsets is None or theirs.offsets is None:
        wrong = wrong | (_unlike(ours.values, theirs.values) & ours.present)
        return _first(wrong, rows)
    wrong = wrong | (np.diff(ours.offsets) != np.diff(theirs.offsets))
    limit = rows if _first(wrong, rows) is None else int(np.argmax(wrong))
    begin, end = ours.offsets[0], ours.offsets[limit]
    other = theirs.offsets[0]
    values = _unlike(ours.values[begin:end], theirs.values[other : other + end - begin])
    if values.any():
        place = begin + int(np.argmax(values))
        return int(np.searchsorted(ours.offsets, place, side="right")) - 1
    return None if limit == rows else limit


def _first(wrong: NDArray[np.bool_], rows: int) -> int | None:
    """Return the first True, or None."""
    return int(np.argmax(wrong)) if rows and wrong.any() else None


def _unlike(left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where two arrays differ; floats by their bits, so that NaN equals itself."""
    if left.dtype.kind == "f" and left.dtype == right.dtype:
        bits = np.dtype(f"u{left.dtype.itemsize}")
        return np.asarray(np.ascontiguousarray(left).view(bits) != np.ascontiguousarray(right).view(bits))
    return np.asarray(left != right, dtype=np.bool_)
