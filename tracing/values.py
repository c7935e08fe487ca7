"""One recorded value in its column's own type: what a step holds until it is sealed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracing.columns import Column
from tracing.errors import ShapeMismatchError, as_utf8
from tracing.hostarray import host_array
from tracing.schema import NUMPY_DTYPES, SITE_FIELDS

_ACCEPTED_DTYPES: Final = {
    "int32": "iu",
    "int64": "iu",
    "uint64": "iu",
    "float32": "f",
    "float64": "f",
    "bool": "b",
}
_WORDS: Final = {"i": "an integer dtype", "f": "a float dtype", "b": "bool"}
MAX_TEXT: Final = 1 << 20


@dataclass(
    slots=True
)  # not frozen: an engine makes dozens of them in each step, and freezing triples their price
class Cells:
    """An array column's value of one step: a private flat copy, never changed once it is made.

    Attributes:
        values: In the column's dtype, row-major, `[size]`.
        missing: True where an element is null, `[size]`, or None when none is.
        shape: Shape as it came; one dimension when it came flat.
        overflow: Sentence about elements that the column's type cannot hold (they are null), or empty.
    """

    values: NDArray[Any]
    missing: NDArray[np.bool_] | None
    shape: tuple[int, ...]
    overflow: str = ""


SCALARS: Final[dict[str, type]] = {
    "bool": bool,
    "float32": float,
    "float64": float,
    "string": str,
    "dictionary": str,
}
"""Kind of a scalar to its Python type; the others are int."""
_INTEGERS: Final = {
    kind: (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    for kind, dtype in NUMPY_DTYPES.items()
    if dtype.kind in "iu"
}
"""Lowest and highest value of each integer kind."""

Value = Cells | int | float | bool | str | None | tuple[tuple[str, int, int, int], ...]
"""Cells for arrays, a Python scalar for scalars, a tuple of sites for `index_sites`, None for null."""


def convert(column: Column, value: Any) -> Value:
    """Bring a value into its column's type; wrong values stay, wrong ranks and dtypes are refused.

    Raises:
        ShapeMismatchError: The rank or the dtype is wrong.
    """
    if value is None:
        return None
    cells = _plain_cells(column, value) if type(value) is np.ndarray else None
    if cells is not None:
        return cells
    if column.kind == "sites":
        return _sites(column, value)
    if column.kind in {"string", "dictionary"}:
        return _text(column, value)
    if column.is_list:
        return _cells(column, value)
    return _scalar(column, value)


def fits(kind: str, number: int) -> bool:
    """Return whether an integer kind can hold a number."""
    lowest, highest = _INTEGERS[kind]
    return lowest <= number <= highest


def _text(column: Column, value: Any) -> str:
    if not isinstance(value, str):
        raise ShapeMismatchError(f"{column.name} should be text, got {type(value).__name__}")
    return value[:MAX_TEXT].encode("utf-8", "replace").decode()


def _scalar(column: Column, value: Any) -> int | float | bool:
    """Return a Python number; an array of one element is a scalar only when it has no dimension."""
    wanted = SCALARS.get(column.kind, int)
    if type(value) is not wanted:
        array = host_array(value, column.name) if not isinstance(value, (int, float)) else np.asarray(value)
        _check_dtype(column, array, lenient=type(value) is int)
        if array.ndim:
            raise ShapeMismatchError(f"{column.name} should be a scalar, got shape {array.shape}")
        value = wanted(array.item())
    if wanted is int and not fits(column.kind, value):
        raise ShapeMismatchError(f"{column.name} should fit {column.kind}, got {value}")
    number: int | float | bool = value
    return number


def _plain_cells(column: Column, array: NDArray[Any]) -> Cells | None:
    """Take the common case without a detour: natural rank, the column's dtype or an int64 that fits it.

    None leaves the value to the general conversion, which gives the same wherever both apply.
    """
    axes = column.axes
    shape = array.shape
    if axes is None or column.kind == "sites" or len(shape) != len(axes):
        return None
    if len(shape) == 2 and axes[0] == axes[1] and shape[0] != shape[1]:
        return None
    dtype = NUMPY_DTYPES[column.kind]
    if array.dtype == dtype:
        return Cells(array.flatten(), None, shape)
    if dtype.kind != "i" or array.dtype != np.int64:
        return None
    flat = array.flatten()
    narrow = flat.astype(dtype)
    return None if np.count_nonzero(narrow != flat) else Cells(narrow, None, shape)


def _cells(column: Column, value: Any) -> Cells:
    array = host_array(value, column.name)
    from_list = isinstance(value, (list, tuple, range))
    _check_dtype(column, array, lenient=from_list)
    _check_rank(column, array.shape)
    missing = None
    if isinstance(array, np.ma.MaskedArray):
        missing = np.ma.getmaskarray(array).ravel()
        array = array.filled(0) if missing.any() else np.ma.getdata(array)
        missing = missing.copy() if missing.any() else None
    flat = array.ravel()
    overflow = ""
    outside = _outside(flat, NUMPY_DTYPES[column.kind])
    if outside is not None:
        missing = outside if missing is None else missing | outside
        first = int(np.argmax(outside))
        overflow = f"{column.name}[{first}] = {flat[first]} does not fit {column.kind}"
        flat = np.where(outside, 0, flat)
    return Cells(_cast(flat, NUMPY_DTYPES[column.kind]), missing, array.shape, overflow)


def _cast(flat: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Copy into the column's dtype; a double beyond float32 becomes infinite, without a warning."""
    if dtype.kind == "f" and flat.dtype.itemsize > dtype.itemsize:
        with np.errstate(over="ignore"):
            return flat.astype(dtype)
    return flat.astype(dtype, copy=True)


def _outside(flat: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[np.bool_] | None:
    """Return which integers `dtype` cannot hold, or None; Python integers keep the comparison exact."""
    if dtype.kind not in "iu" or flat.dtype == dtype or not flat.size:
        return None
    lowest, highest = _INTEGERS[str(dtype)]
    if int(flat.min()) >= lowest and int(flat.max()) <= highest:
        return None
    return np.array([not lowest <= int(item) <= highest for item in flat])


def _check_dtype(column: Column, array: NDArray[Any], *, lenient: bool = False) -> None:
    """Refuse another kind of number; Python lists may spell whole floats without a point or be empty."""
    accepted = _ACCEPTED_DTYPES[column.kind]
    kind = array.dtype.kind
    if kind in accepted or (lenient and _list_fits(array, accepted)):
        return
    raise ShapeMismatchError(f"{column.name} should have {_WORDS[accepted[0]]}, got {array.dtype}")


def _list_fits(array: NDArray[Any], accepted: str) -> bool:
    if array.size == 0 or (isinstance(array, np.ma.MaskedArray) and array.mask.all()):
        return True
    if array.dtype.kind == "O":
        return accepted == "iu" and all(type(item) is int for item in np.ma.getdata(array).ravel())
    return accepted == "f" and array.dtype.kind in "iu"


def _check_rank(column: Column, shape: tuple[int, ...]) -> None:
    """Accept the natural rank, or one dimension for what is stored flat."""
    axes = column.axes or ()
    wrong_rank = len(shape) not in {1, len(axes)}
    if wrong_rank or (axes == ("N", "N") and not _is_square(shape)):
        raise ShapeMismatchError(f"{column.name} should be {column.shape_text}, got shape {shape}")


def _is_square(shape: tuple[int, ...]) -> bool:
    if len(shape) == 2:
        return shape[0] == shape[1]
    return math.isqrt(shape[0]) ** 2 == shape[0]


def _sites(column: Column, value: Any) -> tuple[tuple[str, int, int, int], ...]:
    """Return `(site, min, max, bound)` rows from dicts or tuples."""
    try:
        rows = [
            tuple(row[name] for name in SITE_FIELDS) if isinstance(row, Mapping) else tuple(row)
            for row in value
        ]
        return sites_of(rows)
    except (TypeError, ValueError, KeyError, OverflowError):
        raise ShapeMismatchError(
            f"{column.name} should be rows of ({', '.join(SITE_FIELDS)}), got {type(value).__name__}"
        ) from None


def sites_of(rows: Iterable[Any]) -> tuple[tuple[str, int, int, int], ...]:
    """Return rows of four as sites.

    Raises:
        TypeError, ValueError, OverflowError: A row is of another length, or not text and three int64.
    """
    sites = tuple((as_utf8(str(site)), int(low), int(high), int(bound)) for site, low, high, bound in rows)
    if not all(fits("int64", number) for site in sites for number in site[1:]):
        raise ValueError("a site is out of range")
    return sites


def site_dicts(sites: tuple[tuple[str, int, int, int], ...]) -> list[dict[str, Any]]:
    """Return sites by the names of their fields."""
    return [dict(zip(SITE_FIELDS, site, strict=True)) for site in sites]
