"""Rows of recorded values to Arrow batches, and one row back as numpy arrays in their natural shape."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from tracing.arrow_values import list_array, null_mask, values_of
from tracing.columns import COLUMN_BY_NAME, COLUMNS, Column
from tracing.schema import NUMPY_DTYPES, arrow_schema, arrow_type, null_column
from tracing.values import Cells, Value, site_dicts

Row = Mapping[str, Value]


def batch_of_rows(rows: Sequence[Row]) -> pa.RecordBatch:
    """Return one batch in the order of the rows; a column that a row lacks is null there."""
    if not rows:
        return _empty_batch()
    filled = {name for row in rows for name, value in row.items() if value is not None}
    arrays = [
        _array(column, [row.get(column.name) for row in rows])
        if column.name in filled
        else null_column(column.name, len(rows))
        for column in COLUMNS
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema())


def with_columns(batch: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
    """Return the named columns of the trace, null where the batch does not have them."""
    found = dict(zip(batch.schema.names, batch.columns, strict=True))
    arrays = [found[name] if name in found else null_column(name, batch.num_rows) for name in names]
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(names))


@cache
def _empty_batch() -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.nulls(0, arrow_type(column)) for column in COLUMNS], schema=arrow_schema()
    )


def _array(column: Column, values: list[Value]) -> pa.Array:
    if column.kind == "dictionary":
        return _dictionary_array(values)
    if column.kind == "sites":
        sites = [site_dicts(value) if isinstance(value, tuple) else None for value in values]
        return pa.array(sites, arrow_type(column))
    if not column.is_list:
        return pa.array(values, arrow_type(column))
    return _list_array(column, values)


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


def row_of_batch(batch: pa.RecordBatch, row: int) -> dict[str, Any]:
    """Return one row; arrays are numpy (masked where elements are null), null is None.

    `visible` comes as `[N, N]`, other columns with N and one more axis as `[N, K]` or `[G, N]`; where N does
    not tell the sizes of a column's axes, it stays flat.
    """
    found: dict[str, Any] = {}
    for name in batch.schema.names:
        column = COLUMN_BY_NAME.get(name)
        cell = batch.column(name)[row]
        found[name] = _host_cell(column, cell) if column is not None else cell.as_py()
    return _shaped(found)


def row_of_values(values: Mapping[str, Value]) -> dict[str, Any]:
    """Return recorded values that are not Arrow yet in the same form as `row_of_batch`."""
    return _shaped({name: _host_value(value) for name, value in values.items()})


def _host_cell(column: Column, cell: Any) -> Any:
    if not column.is_list or column.kind == "sites" or not cell.is_valid:
        return cell.as_py()
    return _host_list(cell.values)


def _host_list(values: pa.Array) -> Any:
    missing = null_mask(values)
    host = values_of(values)
    return host if missing is None else np.ma.MaskedArray(host, mask=missing)


def _host_value(value: Value) -> Any:
    if isinstance(value, Cells):
        return value.values if value.missing is None else np.ma.MaskedArray(value.values, mask=value.missing)
    if isinstance(value, tuple):
        return site_dicts(value)
    return value


def _shaped(row: dict[str, Any]) -> dict[str, Any]:
    """Give what is stored flat its axes back, where N tells their sizes."""
    num_nodes = _num_nodes(row)
    for name, value in row.items():
        column = COLUMN_BY_NAME.get(name)
        axes = () if column is None else column.axes or ()
        if len(axes) == 2 and "N" in axes and isinstance(value, np.ndarray):
            rows = math.isqrt(value.size) if axes == ("N", "N") else num_nodes
            if rows and value.size % rows == 0:
                row[name] = value.reshape((rows, -1) if axes[0] == "N" else (-1, rows))
    return row


def _num_nodes(row: Mapping[str, Any]) -> int:
    """Return N from any per-node column, 0 where none is there."""
    for name, value in row.items():
        column = COLUMN_BY_NAME.get(name)
        if column is not None and column.axes == ("N",) and isinstance(value, np.ndarray):
            return int(value.size)
    visible = row.get("visible")
    return math.isqrt(visible.size) if isinstance(visible, np.ndarray) else 0
