"""Rows to the flat columns that batches are made of; a trace has them already, as Arrow stores them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from invariants.batch.flat import Flat
from invariants.batch.forms import COLUMNS
from invariants.inputs import Row
from tracing.columns import COLUMN_BY_NAME


def pack(rows: Sequence[Row]) -> dict[str, Flat]:
    """Return the columns of some steps, those that any of them has."""
    columns = {name: [_value(row, *name.partition(".")[::2]) for row in rows] for name in COLUMNS}
    return {
        name: _flat(name, values)
        for name, values in columns.items()
        if any(value is not None for value in values)
    }


def _value(row: Row, column: str, field: str) -> Any:
    """Return a column of a step, or one field of its sites, or None."""
    value = row.get(column)
    if value is None or not field:
        return value
    return np.array([site[field] for site in value], dtype=np.int64)


def _flat(name: str, values: list[Any]) -> Flat:
    """Return one column."""
    null = np.array([value is None for value in values])
    example = next(value for value in values if value is not None)
    if not isinstance(example, np.ndarray):
        return Flat(_scalars(name, values), None, null if null.any() else None)
    filled = [np.zeros(0, example.dtype) if value is None else value for value in values]
    offsets = np.cumsum([0, *(each.size for each in filled)])
    missing = np.concatenate([np.ma.getmaskarray(each).reshape(-1) for each in filled])
    flat = np.concatenate([np.ma.getdata(each).reshape(-1) for each in filled])
    return Flat(flat, offsets, null if null.any() else None, missing if missing.any() else None)


def _scalars(name: str, values: list[Any]) -> np.ndarray[Any, np.dtype[Any]]:
    """Return scalars as one array: text as objects, digests unsigned."""
    kind = COLUMN_BY_NAME[name].kind
    if kind in ("string", "dictionary"):
        return np.array(values, dtype=object)
    dtype = np.uint64 if kind == "uint64" else np.int64
    return np.array([0 if value is None else value for value in values], dtype=dtype)
