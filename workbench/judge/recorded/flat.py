"""Columns as Arrow stores them, as the flat arrays that the screens of `invariants` read."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa

from invariants.screens.batch import COLUMNS, Flat

SITES: Final = "index_sites"


def flat_columns(table: pa.Table) -> dict[str, Flat]:
    """Return the columns of a block of steps that hold anything, without copying where Arrow allows it.

    Args:
        table: Steps in order, any of the trace's columns.
    """
    found: dict[str, Flat] = {}
    for name in COLUMNS:
        column, _, field = name.partition(".")
        if column in table.schema.names and table.column(column).null_count < table.num_rows:
            found[name] = _flat(_one_chunk(table.column(column)), field)
    return found


def _one_chunk(column: pa.ChunkedArray) -> Any:
    joined = column.combine_chunks()
    return joined.chunk(0) if isinstance(joined, pa.ChunkedArray) else joined


def _flat(array: Any, field: str) -> Flat:
    null = _nulls(array)
    if not pa.types.is_list(array.type):
        return Flat(_values(array), None, null)
    offsets = array.offsets.to_numpy()
    first, last = int(offsets[0]), int(offsets[-1])
    entries = array.values.slice(first, last - first)
    if field:
        entries = entries.flatten()[entries.type.get_field_index(field)]
    return Flat(_values(entries), offsets - first, null, _nulls(entries))


def _nulls(array: Any) -> Any:
    return array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None


def _values(array: Any) -> Any:
    """Return values as numpy has them; null is 0, False or None."""
    if pa.types.is_string(array.type) or pa.types.is_dictionary(array.type):
        return np.array(array.to_pylist(), dtype=object)
    if array.null_count:
        array = array.fill_null(False if pa.types.is_boolean(array.type) else 0)
    if pa.types.is_boolean(array.type):
        return _truths(array)
    return array.to_numpy(zero_copy_only=False)


def _truths(array: Any) -> Any:
    """Unpack Arrow's bits with numpy, which is several times as fast as Arrow's own way."""
    packed = np.frombuffer(array.buffers()[1] or b"", dtype=np.uint8)
    bits = np.unpackbits(packed, count=array.offset + len(array), bitorder="little")
    return bits[array.offset :].view(np.bool_)
