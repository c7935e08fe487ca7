"""The Arrow schema of a step row, and the checks of names, derived from the table of columns."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tracing.columns import COLUMN_BY_NAME, COLUMNS, LEVELS, Column
from tracing.errors import UnknownColumnError
from tracing.settings import require_one_of

FORMAT_MAJOR: Final = 1
FORMAT_MINOR: Final = 1
FORMAT_VERSION: Final = f"{FORMAT_MAJOR}.{FORMAT_MINOR}"
SITE_FIELDS: Final = ("site", "min", "max", "bound")

SITE_TYPE: Final = pa.struct(
    [pa.field("site", pa.string()), *(pa.field(name, pa.int64()) for name in SITE_FIELDS[1:])]
)

_ARROW_TYPES: Final[dict[str, Any]] = {
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint64": pa.uint64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "dictionary": pa.dictionary(pa.int32(), pa.string()),
    "sites": SITE_TYPE,
}

NUMPY_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "int32": np.dtype("<i4"),
    "int64": np.dtype("<i8"),
    "uint64": np.dtype("<u8"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
    "bool": np.dtype(np.bool_),
}
"""Element type on the host, for the kinds that are arrays."""


@cache
def arrow_type(column: Column) -> pa.DataType:
    """Return the Arrow type that the trace stores a column as."""
    element = _ARROW_TYPES[column.kind]
    return pa.list_(element) if column.is_list else element


def arrow_schema(names: Iterable[str] = tuple(COLUMN_BY_NAME)) -> pa.Schema:
    """Return the schema of a step row without file metadata, or of the named columns in their order.

    Raises:
        UnknownColumnError: A name is not in the table.
    """
    return _schema_of(tuple(names))


@lru_cache(maxsize=256)
def _schema_of(names: tuple[str, ...]) -> pa.Schema:
    columns = [column_named(name) for name in names]
    return pa.schema(
        [pa.field(column.name, arrow_type(column), nullable=column.nullable) for column in columns]
    )


@lru_cache(maxsize=512)
def null_column(name: str, num_rows: int) -> pa.Array:
    """Return a column of the trace that is null throughout."""
    return pa.nulls(num_rows, arrow_type(COLUMN_BY_NAME[name]))


def column_named(name: str) -> Column:
    """Return a column of the table.

    Raises:
        UnknownColumnError: There is no such column; the sentence names the nearest ones.
    """
    column = COLUMN_BY_NAME.get(name)
    if column is None:
        near = difflib.get_close_matches(name, COLUMN_BY_NAME, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(COLUMN_BY_NAME)}"
        raise UnknownColumnError(f"no column {name!r} in the trace schema; {hint}")
    return column


def columns_of_level(level: str) -> frozenset[str]:
    """Return the names of the columns that a recorder of this level keeps.

    Raises:
        UsageError: The level is not `basic`, `digest` or `full`.
    """
    require_one_of("level", level, LEVELS)
    rank = LEVELS.index(level)
    return frozenset(column.name for column in COLUMNS if LEVELS.index(column.level) <= rank)
