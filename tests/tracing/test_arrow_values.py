"""What is read from an Arrow array's buffers is what Arrow itself says of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracing.arrow_values import list_array, null_mask, values_of

KINDS = {
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.bool_(): st.booleans(),
}
NUMPY = {
    pa.int32(): np.int32,
    pa.int64(): np.int64,
    pa.uint64(): np.uint64,
    pa.float32(): np.float32,
    pa.bool_(): np.bool_,
}


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(st.data())
def test_a_slice_with_nulls_reads_as_arrow_reads_it(kind: pa.DataType, data: st.DataObject) -> None:
    """A bit taken at the wrong offset, or what stands under a null, is another value."""
    whole = pa.array(data.draw(st.lists(st.none() | KINDS[kind], max_size=40)), kind)
    start = data.draw(st.integers(0, len(whole)))
    array = whole.slice(start, data.draw(st.integers(0, len(whole) - start)))
    expected = array.to_pylist()
    missing = null_mask(array)
    found = [value is None for value in expected]
    assert (np.zeros(len(array), np.bool_) if missing is None else missing).tolist() == found
    assert values_of(array).tolist() == [NUMPY[kind](value or 0) for value in expected]


@given(st.lists(st.none() | st.lists(st.none() | st.integers(0, 99), max_size=4), max_size=20))
def test_lists_are_those_that_were_given(rows: list[Any]) -> None:
    entries = pa.array([entry for row in rows for entry in row or ()], pa.int32())
    lengths = np.array([len(row or ()) for row in rows], np.int64)
    null = np.array([row is None for row in rows], np.bool_)
    made = list_array(pa.list_(pa.int32()), lengths, entries, null)
    made.validate(full=True)
    assert made.equals(pa.array(rows, pa.list_(pa.int32())))
