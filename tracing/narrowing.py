"""Integers of many columns brought into their columns' type in one go: a step has a dozen of them."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracing.columns import COLUMNS

_WIDE: Final = np.dtype(np.int64)
_NARROW: Final = frozenset(column.name for column in COLUMNS if column.kind == "int32" and column.is_list)
_WORTH: Final = 3
Narrowed = Mapping[str, NDArray[np.int32]]
NONE: Final[Narrowed] = {}


def narrowed(values: Mapping[str, Any], kept: Container[str] = _NARROW) -> Narrowed:
    """Return private flat copies of the int64 arrays that int32 columns are given, of all of them or of none.

    None are made where there are too few to gain by it.

    Args:
        values: By column; anything else among them is left alone.
        kept: Columns that are wanted.
    """
    wide = {
        name: value
        for name, value in values.items()
        if type(value) is np.ndarray and value.dtype is _WIDE and name in _NARROW and name in kept
    }
    if len(wide) < _WORTH:
        return NONE
    flat = np.concatenate(list(wide.values()), axis=None)
    narrow = flat.astype(np.int32)
    if np.count_nonzero(narrow != flat):
        return NONE
    found, start = {}, 0
    for name, value in wide.items():
        stop = start + value.size
        found[name] = narrow[start:stop]
        start = stop
    return found
