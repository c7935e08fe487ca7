"""Arrow batches to the flat columns that screens read; knows Arrow by its methods, and does not import it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from invariants.rule import BoolArray
from invariants.screens.batch import COLUMNS, SCALARS, Flat
from invariants.screens.pack import SITE_FIELDS

SITES: Final = "index_sites"
_TEXTS: Final = frozenset({"stop_reason", "commit_mode", "commit_fallback", "incomplete"})


def flat_columns(record_batch: Any) -> dict[str, Flat]:
    """Return what screens read of a `pyarrow.RecordBatch` of step rows, without columns that are all null.

    Args:
        record_batch: S step rows as a trace stores them; for speed, thousands at once
            (`table.combine_chunks().to_batches()`).
    """
    names = set(record_batch.schema.names)
    columns: dict[str, Flat] = {}
    for name in COLUMNS:
        if name in names and record_batch.column(name).null_count < record_batch.num_rows:
            columns[name] = _flat(name, record_batch.column(name))
    if SITES in names and record_batch.column(SITES).null_count < record_batch.num_rows:
        sites = record_batch.column(SITES)
        for field in SITE_FIELDS:
            values = _numbers(sites.values.field(field))
            columns[f"{SITES}.{field}"] = Flat(values, _plain(sites.offsets), _null(sites))
    return columns


def _flat(name: str, array: Any) -> Flat:
    """Return one column."""
    if name in SCALARS:
        values = array.to_numpy(zero_copy_only=False) if name in _TEXTS else _numbers(array)
        return Flat(values, None, _null(array))
    return Flat(_numbers(array.values), _plain(array.offsets), _null(array), _null(array.values))


def _plain(array: Any) -> NDArray[Any]:
    """Return an array without nulls as numpy."""
    values: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return values


def _numbers(array: Any) -> NDArray[Any]:
    """Return numbers or truths, zero where null: numpy has no null, and floats would lose digits."""
    if array.null_count:
        array = array.fill_null(array.type.to_pandas_dtype()(0).item())
    return _plain(array)


def _null(array: Any) -> BoolArray | None:
    """Return where an array is null, or None when nowhere."""
    if not array.null_count:
        return None
    null: BoolArray = np.asarray(array.is_null().to_numpy(zero_copy_only=False))
    return null
