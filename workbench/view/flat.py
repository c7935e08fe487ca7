"""List columns of many rows as flat arrays, so that a long run is searched without a Python loop per row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

IntArray = NDArray[Any]


def flat_lists(column: pa.ChunkedArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return row, place in the row, and value of every element of a list column, nulls left out."""
    array = column.combine_chunks()
    lengths = list_lengths(column)
    values = array.flatten()
    rows = np.repeat(np.arange(len(lengths)), lengths)
    places = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    known = np.asarray(values.is_valid())
    return rows[known], places[known], np.asarray(values.drop_null())


def list_lengths(column: pa.ChunkedArray) -> IntArray:
    """Return the number of elements in every row, 0 where the row is null."""
    return np.asarray(pc.list_value_length(column).fill_null(0)).astype(np.int64)
