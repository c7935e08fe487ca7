"""Columns as Arrow stores them, as the flat arrays that the prefilter of `invariants` reads."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa

from invariants.batch.flat import Bits, Flat
from invariants.batch.forms import COLUMNS, axes_of
from tracing.arrow_values import null_mask, values_of

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
            found[name] = _flat(_one_chunk(table.column(column)), field, large=len(axes_of(name)) > 1)
    return found


def _one_chunk(column: pa.ChunkedArray) -> Any:
    joined = column.combine_chunks(pa.system_memory_pool())
    return joined.chunk(0) if isinstance(joined, pa.ChunkedArray) else joined


def _flat(array: Any, field: str, *, large: bool) -> Flat:
    null = null_mask(array)
    if not pa.types.is_list(array.type):
        return Flat(_values(array), None, null)
    offsets = values_of(array.offsets)
    first, last = int(offsets[0]), int(offsets[-1])
    entries = array.values.slice(first, last - first)
    if field:
        entries = entries.flatten()[entries.type.get_field_index(field)]
    stays_packed = large and pa.types.is_boolean(entries.type) and not entries.null_count
    values: Any = _bits(entries) if stays_packed else _values(entries)
    return Flat(values, offsets - first, null, null_mask(entries))


def _bits(array: Any) -> Bits:
    """Return truths as Arrow has them."""
    return Bits(np.frombuffer(array.buffers()[1] or b"", np.uint8), array.offset, len(array))


def _values(array: Any) -> Any:
    """Return values as numpy has them; null is 0, False or None."""
    if pa.types.is_dictionary(array.type):
        words = np.array([*array.dictionary.to_pylist(), None], dtype=object)
        codes, missing = values_of(array.indices), null_mask(array)
        return words[codes if missing is None else np.where(missing, len(words) - 1, codes)]
    if pa.types.is_string(array.type):
        return np.array(array.to_pylist(), dtype=object)
    return values_of(array)
