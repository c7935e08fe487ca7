"""Rows of recorded values to Arrow batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from tracing.arrow_values import list_array
from tracing.columns import COLUMNS, Column
from tracing.schema import NUMPY_DTYPES, SITE_TYPE, arrow_schema, arrow_type
from tracing.values import Cells, Value

Row = Mapping[str, Value]


def batch_of_rows(rows: Sequence[Row]) -> pa.RecordBatch:
    """Return one batch in the order of the rows; a column that a row lacks is null there."""
    if not rows:
        return _empty_batch()
    arrays = [_array(column, [row.get(column.name) for row in rows]) for column in COLUMNS]
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema())


@cache
def _empty_batch() -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.nulls(0, arrow_type(column)) for column in COLUMNS], schema=arrow_schema()
    )


def _array(column: Column, values: list[Value]) -> pa.Array:
    if all(value is None for value in values):
        return pa.nulls(len(values), arrow_type(column))
    if column.kind == "dictionary":
        return _dictionary_array(values)
    if column.kind == "sites":
        return pa.array(_site_dicts(values), arrow_type(column))
    if not column.is_list:
        return pa.array(values, arrow_type(column))
    return _list_array(column, values)


def _site_dicts(values: list[Value]) -> list[Any]:
    names = [SITE_TYPE.field(number).name for number in range(SITE_TYPE.num_fields)]
    return [
        None if not isinstance(value, tuple) else [dict(zip(names, site, strict=True)) for site in value]
        for value in values
    ]


def _dictionary_array(values: list[Value]) -> pa.Array:
    """Number texts in the order in which they first come."""
    words: dict[Value, int] = {}
    codes = [None if value is None else words.setdefault(value, len(words)) for value in values]
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(list(words), pa.string()))


def _list_array(column: Column, values: list[Value]) -> pa.Array:
    """Join the rows' flat arrays under one offsets array; no element passes through Python."""
    dtype = NUMPY_DTYPES[column.kind]
    cells = [value if isinstance(value, Cells) else None for value in values]
    sizes = [0 if cell is None else cell.values.size for cell in cells]
    present = [cell for cell in cells if cell is not None]
    flat = np.concatenate([cell.values for cell in present]) if present else np.empty(0, dtype)
    missing = None
    if any(cell.missing is not None for cell in present):
        missing = np.concatenate(
            [
                np.zeros(cell.values.size, np.bool_) if cell.missing is None else cell.missing
                for cell in present
            ]
        )
    null = np.array([cell is None for cell in cells], np.bool_)
    return list_array(arrow_type(column), np.array(sizes), pa.array(flat, mask=missing), null)
