"""How far a row may be from the truth: what the dtype alone costs, never what the path under test did.

A row's allowance is `FACTOR x e + floor`. `e` is the largest error of the reference's own results at the
tested path's dtype (`samples`) on that row, but at least `SPREAD` times the median relative error over the
rows of the same step and layer, times the row's magnitude; a single row's sample may be small by chance.
(Measured on random 12-layer models, 216,000 rows: without the pooling one row in 150 of a sound kernel
fails with one sample, with it the worst row reaches 0.78 of its allowance, in float32 and bfloat16.)
The floor is a few units in the last place of the row's largest magnitude, so that a sample which happens
to be exact does not leave a budget of zero. Every row is judged in two norms, largest error and
root-mean-square: the second sees a wrong row that one huge element hides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracing.settings import require_one_of

Floats = NDArray[np.float64]

FACTOR: Final = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
"""An honest kernel may be as far from the truth as the reference, in another direction, and as much again.

In float32 as much again twice over. A few rows amplify their rounding, each way of summing another one, so
that the largest of a dozen samples says little of the next. Measured on the shipped pair, clean runs over
several prompts: twice the error of a dozen samples was reached (1.02) in float32, and 0.55 of it in half
precisions, where samples round at random.
"""
SPREAD: Final = 3.0
"""Rows of equal size differ in error; three medians cover them (measured, see above)."""
EPSILON: Final = {"float32": 2.0**-23, "bfloat16": 2.0**-7, "float16": 2.0**-10}
"""Distance from 1 to the next number of each dtype."""
SMALLEST: Final = {"float32": 2.0**-149, "bfloat16": 2.0**-133, "float16": 2.0**-24}
"""Smallest positive number of each dtype, the unit in the last place near zero."""
FLOOR_ULPS: Final = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
"""Half types round every result, so their samples are never exact by much; float32 may be."""
_BLOCK: Final = 2**16
"""Numbers that are measured at once."""


@dataclass(frozen=True, slots=True)
class RowAllowances:
    """Allowances of R rows, float64 `[R]`; NaN where no sample was finite.

    Attributes:
        largest: For the largest absolute error of a row.
        rms: For its root-mean-square error.
    """

    largest: Floats
    rms: Floats


def check_dtype(dtype: str) -> None:
    """Refuse a dtype the judge has no unit in the last place for.

    Raises:
        UsageError: Not float32, bfloat16 or float16.
    """
    require_one_of("dtype of the judged path", dtype, EPSILON)


@dataclass(frozen=True, slots=True)
class Norms:
    """Both norms of rows, float64; not finite where a number of the row is not.

    Attributes:
        largest: Largest magnitude of each row.
        rms: Its root-mean-square.
    """

    largest: Floats
    rms: Floats

    def of(self, group: int) -> Norms:
        """Return those of one of several groups."""
        return Norms(self.largest[group], self.rms[group])


def norms_of(rows: NDArray[Any], less: NDArray[Any] | None = None) -> Norms:
    """Return `largest` and `root_mean_square` of rows `[..., W]`, or of what they are more than others.

    In float64, a few rows at a time: what is in between stays in the processor's cache.
    """
    width = rows.shape[-1]
    flat = rows.reshape(-1, width)
    others = None if less is None else less.reshape(-1, width)
    made = np.empty((2, len(flat)))
    at_once = max(1, _BLOCK // max(width, 1))
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, len(flat), at_once):
            block = slice(start, start + at_once)
            wide = np.asarray(flat[block], dtype=np.float64)
            if others is not None:
                wide = wide - others[block]
            made[0, block], made[1, block] = largest(wide), root_mean_square(wide)
    return Norms(*made.reshape(2, *rows.shape[:-1]))


def largest(rows: NDArray[Any]) -> Floats:
    """Return the largest magnitude of each row, `[R, W] -> [R]`."""
    return np.asarray(np.abs(rows).max(axis=-1), dtype=np.float64)


def root_mean_square(rows: NDArray[Any]) -> Floats:
    """Return the root-mean-square of each row, `[R, W] -> [R]`."""
    return np.asarray(np.sqrt(np.mean(np.square(rows), axis=-1)), dtype=np.float64)


def ulp(magnitude: Floats, dtype: str) -> Floats:
    """Return one unit in the last place of `dtype` at each magnitude."""
    check_dtype(dtype)
    _, exponent = np.frexp(magnitude)  # magnitude = mantissa * 2**exponent, mantissa in [0.5, 1)
    size = np.where(magnitude > 0, np.ldexp(EPSILON[dtype], exponent - 1), 0.0)
    return np.asarray(np.maximum(size, SMALLEST[dtype]), dtype=np.float64)


def ulp_of(magnitude: float, dtype: str) -> float:
    """Return one unit in the last place of `dtype` at one magnitude; as `ulp`, without an array's cost."""
    check_dtype(dtype)
    size = math.ldexp(EPSILON[dtype], math.frexp(magnitude)[1] - 1) if magnitude > 0 else 0.0
    return max(size, SMALLEST[dtype])


def row_allowances(truth: NDArray[Any], samples: tuple[NDArray[Any], ...], dtype: str) -> RowAllowances:
    """Return what each row of one group may be off by.

    Args:
        truth: `[R, W]`, one precision above the path under test; the R rows are pooled (one step, one layer).
        samples: The reference at the tested path's dtype, each `[R, W]`.
        dtype: The tested path's dtype.
    """
    return allowances_of(norms_of(truth), [norms_of(sample, truth) for sample in samples], dtype)


def allowances_of(truth: Norms, errors: Sequence[Norms], dtype: str) -> RowAllowances:
    """Return what each row of one group may be off by, by the norms of the truth and the samples' errors."""
    check_dtype(dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        return RowAllowances(
            largest=_pooled([each.largest for each in errors], truth.largest, truth.largest, dtype),
            rms=_pooled([each.rms for each in errors], truth.rms, truth.largest, dtype),
        )


def _pooled(errors: Sequence[Floats], size: Floats, magnitude: Floats, dtype: str) -> Floats:
    """Return `FACTOR x max(own error, 3 x median relative error x size) + floor`, all `[R]`."""
    if not errors:
        return np.full(size.shape, np.nan)
    stacked = np.stack(errors)
    stacked[~np.isfinite(stacked)] = -1.0  # a sample that overflowed is no measure of this row
    own = stacked.max(axis=0)
    usable = (own >= 0) & np.isfinite(size) & (size > 0)
    median = float(np.median(own[usable] / size[usable])) if usable.any() else 0.0
    floor = floor_of(size, magnitude, dtype)
    return np.where(own >= 0, FACTOR[dtype] * np.maximum(own, SPREAD * median * size) + floor, np.nan)


def floor_of(size: Floats, magnitude: Floats, dtype: str) -> Floats:
    """Return what every row may be off by, `[R]`: a few units in the last place of its largest magnitude.

    A root-mean-square is never above the largest error, so its floor shrinks with the row's own size.
    """
    floor = FLOOR_ULPS[dtype] * ulp(np.where(np.isfinite(magnitude), magnitude, 0.0), dtype)
    share = np.divide(size, magnitude, out=np.ones_like(size), where=magnitude > 0)
    return np.asarray(floor * share, dtype=np.float64)
