"""One row, sealed or journaled, as what people compute with: numpy arrays in their natural shape."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tracing.arrow_values import null_mask, values_of
from tracing.columns import COLUMN_BY_NAME, Column
from tracing.schema import SITE_FIELDS
from tracing.values import Cells, Value


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
        return [dict(zip(SITE_FIELDS, site, strict=True)) for site in value]
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
