"""What a cache that rounds on purpose may do to K and V, and what then is left to judge."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracing.run_facts import ModelFacts

Floats = NDArray[np.float64]
SHAPES: Final = {
    "float8_e4m3fn": (2.0**-3, 2.0**-6, 448.0),
    "float8_e5m2": (2.0**-2, 2.0**-14, 57344.0),
    "bfloat16": (2.0**-7, 2.0**-126, 3.3895e38),
    "float16": (2.0**-10, 2.0**-14, 65504.0),
}
"""Distance from 1 to the next number, smallest normal and largest number of each floating dtype."""
INT8_LEVELS: Final = 127
ROUNDED: Final = (*SHAPES, "int8")
"""Dtypes of a cache that the judge knows how to round to."""


def beyond_rounding(rows: NDArray[Any], truth: NDArray[Any], facts: ModelFacts) -> Floats:
    """Return the rows without the error that rounding alone explains, `[layers, 2, kv_heads, R, D]`.

    An element that is as far from the truth as rounding may bring it becomes the truth; one that is
    farther keeps the rest of its distance. One of another row stays far.

    Args:
        rows: Of the path's cache, as attention reads them.
        truth: Before the cache rounds them.
        facts: Dtype and scale of the cache.
    """
    exact, own = np.asarray(truth, dtype=np.float64), np.asarray(rows, dtype=np.float64)
    error = own - exact
    half = half_step(exact, facts.cache_dtype, facts.cache_scale)
    left: Floats = exact + np.sign(error) * np.maximum(np.abs(error) - half, 0.0)
    return left


def half_step(values: Floats, dtype: str, scale: float = 0.0) -> Floats:
    """Return how far rounding to the nearest number of a dtype may bring each value, saturation included.

    Args:
        values: `[layers, 2, kv_heads, R, D]`.
        dtype: One of `ROUNDED`.
        scale: What a stored number stands for; for `int8`, 0 is a scale by the largest value of a row.
    """
    size = np.abs(values)
    if dtype == "int8":
        largest = np.full_like(size, scale * INT8_LEVELS) if scale else size.max(axis=(2, 4), keepdims=True)
        step = np.broadcast_to(largest / INT8_LEVELS, size.shape)
        beyond = np.maximum(size - largest, 0.0)
        return np.asarray(step / 2 + beyond, dtype=np.float64)
    eps, smallest, most = SHAPES[dtype]
    scaled = size / (scale or 1.0)
    _, exponent = np.frexp(np.maximum(scaled, smallest))
    step = np.ldexp(eps, exponent - 1)
    return np.asarray((step / 2 + np.maximum(scaled - most, 0.0)) * (scale or 1.0), dtype=np.float64)
