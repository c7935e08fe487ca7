"""Rows to the flat columns that screens read; a trace has them already, as Arrow stores them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from invariants.inputs import Row
from invariants.screens.batch import COLUMNS, Flat

SITE_FIELDS: Final = ("min", "max", "bound")
_DIGESTS: Final = ("kv_digest_before", "kv_digest_after")
_TEXTS: Final = ("stop_reason", "commit_mode", "commit_fallback", "incomplete")


def pack(rows: Sequence[Row]) -> dict[str, Flat]:
    """Return the columns of some steps, those that any of them has."""
    columns = {name: [row.get(name) for row in rows] for name in COLUMNS if "." not in name}
    sites = [row.get("index_sites") for row in rows]
    for field in SITE_FIELDS:
        columns[f"index_sites.{field}"] = [_site_values(each, field) for each in sites]
    return {
        name: _flat(name, values)
        for name, values in columns.items()
        if any(value is not None for value in values)
    }


def _site_values(sites: Any, field: str) -> Any:
    """Return one field of a step's sites, or None."""
    return None if sites is None else np.array([site[field] for site in sites], dtype=np.int64)


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
    if name in _TEXTS:
        return np.array(values, dtype=object)
    dtype = np.uint64 if name in _DIGESTS else np.int64
    return np.array([0 if value is None else value for value in values], dtype=dtype)
