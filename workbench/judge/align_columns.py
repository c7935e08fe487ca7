"""Which columns two recordings are compared by, and the first row in which one column differs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

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


_BITS: Final = {"float": "uint32", "double": "uint64"}
"""Arrow's name of a float type to that of integers as wide."""


def first_difference(left: Any, right: Any) -> int | None:
    """Return the first row in which two Arrow arrays of one type and length differ, or None.

    Floats are compared by their bits: NaN equals itself, -0.0 is not 0.0.
    """
    ours, theirs = _as_bits(left), _as_bits(right)
    if ours.equals(theirs):
        return None
    low, high = 0, len(ours)  # rows before `low` are equal, one of `low .. high - 1` differs
    while high - low > 1:
        half = (high - low) // 2
        same = ours.slice(low, half).equals(theirs.slice(low, half))
        low, high = (low + half, high) if same else (low, low + half)
    return low


def _as_bits(column: Any) -> Any:
    """Return a column in which equal values are equal bits, without copying floats."""
    if hasattr(column, "dictionary_decode"):
        return column.dictionary_decode()
    is_list = hasattr(column.type, "value_type")
    bits = _BITS.get(str(column.type.value_type if is_list else column.type))
    if bits is None:
        return column
    import pyarrow as pa

    return column.view(pa.list_(pa.type_for_alias(bits)) if is_list else pa.type_for_alias(bits))


def row_of(column: Any, number: int) -> Any:
    """Return one row of an Arrow array: None, a value, or for lists a numpy array."""
    scalar = column[number]
    if scalar.is_valid and hasattr(scalar, "values"):
        return scalar.values.to_numpy(zero_copy_only=False)
    return scalar.as_py()
