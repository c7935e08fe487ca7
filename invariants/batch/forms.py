"""Names and axes of flat columns, and what makes two steps alike."""

from __future__ import annotations

from typing import Final

import numpy as np

from invariants.needs import columns_read
from invariants.rule import IntArray
from tracing.columns import COLUMN_BY_NAME, PER_NODE, PER_NODE_ROWS

SITES: Final = "index_sites"
SITE_FIELDS: Final = ("min", "max", "bound")
COLUMNS: Final = tuple(
    name
    for column in columns_read()
    for name in ([f"{SITES}.{each}" for each in SITE_FIELDS] if column == SITES else [column])
)
"""All columns that rules read; a struct column comes as one column per field."""


def axes_of(name: str) -> tuple[str, ...]:
    """Return the axes of a flat column; none for a scalar."""
    return COLUMN_BY_NAME[name.partition(".")[0]].axes or ()


NODE_COLUMNS: Final = frozenset((*PER_NODE, *PER_NODE_ROWS))
"""Columns with a row per node; the length of other lists is not a matter of form."""


def numbered(table: IntArray) -> tuple[IntArray, list[bytes]]:
    """Return the same number for equal rows, from 0, `[S]`, and the bytes of the row of each number.

    Runs of equal rows are the common case.
    """
    changes = np.ones(len(table), dtype=np.bool_)
    changes[1:] = (table[1:] != table[:-1]).any(axis=1)
    numbers: dict[bytes, int] = {}
    of_run = [numbers.setdefault(row.tobytes(), len(numbers)) for row in table[changes]]
    number_of: IntArray = np.array(of_run, dtype=np.int64)[np.cumsum(changes) - 1]
    return number_of, list(numbers)
