"""Flat columns taken from Arrow are those packed from the rows themselves, sliced batches included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from invariants.inputs import Row
from invariants.screens.arrow import flat_columns
from invariants.screens.batch import Flat
from invariants.screens.pack import pack
from invariants.strategies import legal_runs
from tracing.schema import arrow_schema


def arrow_value(value: Any) -> Any:
    if isinstance(value, np.ma.MaskedArray):
        return [entry for line in value.tolist() for entry in line]
    return value.reshape(-1).tolist() if isinstance(value, np.ndarray) else value


def record_batch(rows: list[Row]) -> Any:
    schema = arrow_schema()
    plain = [{name: arrow_value(row.get(name)) for name in schema.names} for row in rows]
    return pa.RecordBatch.from_pylist(plain, schema=schema)


def entries(column: Flat) -> list[Any]:
    """Every step's entries, None where the step or the entry has none."""
    null = np.zeros(column.num_steps, np.bool_) if column.null is None else column.null
    if column.offsets is None:
        return [None if gone else value for value, gone in zip(column.values.tolist(), null, strict=True)]
    missing = np.zeros(len(column.values), np.bool_) if column.missing is None else column.missing
    cells = [None if gone else value for value, gone in zip(column.values.tolist(), missing, strict=True)]
    spans = zip(column.offsets[:-1].tolist(), column.offsets[1:].tolist(), null, strict=True)
    return [None if gone else cells[start:stop] for start, stop, gone in spans]


@given(legal_runs(max_turns=2), st.data())
@settings(max_examples=25)
def test_arrow_columns_are_the_packed_ones(rows: list[Row], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(rows) - 1))
    from_arrow = flat_columns(record_batch(rows).slice(start))
    packed = pack(rows[start:])
    assert from_arrow.keys() == packed.keys()
    for name, column in packed.items():
        assert entries(from_arrow[name]) == entries(column), name
