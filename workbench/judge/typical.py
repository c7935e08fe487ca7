"""Rows that the path's own dtype decides: held against one sample of the reference, without a truth.

A truth in float64 costs twice what a sample in float32 costs, and hardly any row needs it. Let `m` be the
median relative error of the sample over the rows of one step and layer, `e` the sample's error on a row of
size `s`. With the truth known the row may be off by `A = FACTOR x max(e, SPREAD x m x s) + floor`
(`workbench.judge.allowance`). A row that is within `d = (FACTOR - 1) x SPREAD x m x s` of the sample, and so
within `d + e` of the truth, is always within `A`: where `e` is the larger of the two, `A` is at least
`e + (FACTOR - 1) x e`, and else at least `d + e`. So the truth cannot change what is said of this row.

`m` is not known without a truth; what stands for it is the smallest that was measured in the run, layer by
layer. A choice is decided where no other token comes near it. Whatever is not decided is judged by the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from workbench.judge.allowance import (
    FACTOR,
    SPREAD,
    Floats,
    Norms,
    RowAllowances,
    floor_of,
    norms_of,
)

MIN_ROWS: Final = 16
"""Rows of a group below which a median says too little."""


@dataclass(frozen=True, slots=True)
class Typical:
    """Median errors of a sample relative to the sizes of its rows, group by group; arrays are `[G]`.

    Attributes:
        largest: Of the largest error of a row.
        rms: Of its root-mean-square error.
    """

    largest: Floats
    rms: Floats

    @property
    def is_known(self) -> bool:
        """Whether every group has one."""
        return bool(np.isfinite(self.largest).all() and np.isfinite(self.rms).all())

    def least(self, other: Typical | None) -> Typical:
        """Return the smaller ones of two steps, group by group; those of this one where they do not fit."""
        if other is None or other.largest.shape != self.largest.shape:
            return self
        return Typical(np.minimum(self.largest, other.largest), np.minimum(self.rms, other.rms))


def typical_errors(truth: NDArray[Any], sample: NDArray[Any]) -> Typical:
    """Measure a sample, both arrays `[G, R, W]`; NaN for a group of few rows, or that is not finite."""
    medians = [_medians(*group) for group in zip(truth, sample, strict=True)]
    return Typical(np.array([each[0] for each in medians]), np.array([each[1] for each in medians]))


def _medians(truth: NDArray[Any], sample: NDArray[Any]) -> tuple[float, float]:
    if len(truth) < MIN_ROWS:
        return np.nan, np.nan
    sizes, errors = norms_of(truth), norms_of(sample, truth)
    if not (np.isfinite(sizes.largest).all() and np.isfinite(errors.largest).all()):
        return np.nan, np.nan
    return _median(sizes.largest, errors.largest), _median(sizes.rms, errors.rms)


def _median(size: Floats, error: Floats) -> float:
    relative = error[size > 0] / size[size > 0]
    return float(np.median(relative)) if relative.size else 0.0


def allowances_beside(sample: Norms, typical: Typical, dtype: str) -> RowAllowances:
    """Return how far from a sample each row is decided, `d` and a share of the floor.

    Norms of rows of G groups, `[G, R]`, or of one, `[R]`.
    """
    factor, made = FACTOR[dtype], []
    for size, medians in ((sample.largest, typical.largest), (sample.rms, typical.rms)):
        floor = floor_of(size, sample.largest, dtype)
        median = medians if size.ndim == 1 else medians[:, None]
        made.append((factor - 1) / factor * (factor * SPREAD * median * size + floor))
    return RowAllowances(largest=made[0], rms=made[1])


def from_truth(dtype: str) -> float:
    """Return how much further from the truth than from the sample a decided row may be."""
    return FACTOR[dtype] / (FACTOR[dtype] - 1)


def is_clear(logits: NDArray[Any], typical: Typical, dtype: str) -> bool:
    """Whether no token comes near the best one in any row `[R, V]`, so that the truth's best is the same."""
    rows = np.asarray(logits)
    if rows.shape[-1] < 2:
        return True
    best = np.partition(rows, -2, axis=-1)[:, -2:].astype(np.float64)
    allowance = allowances_beside(norms_of(rows), typical, dtype).largest * from_truth(dtype)
    return bool(np.all(best[:, 1] - best[:, 0] > 2 * allowance))
