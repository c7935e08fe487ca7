"""Rows of one float quantity, measured against the truth in both norms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracing.errors import UsageError
from workbench.judge.allowance import (
    Floats,
    Norms,
    RowAllowances,
    allowances_of,
    norms_of,
)
from workbench.judge.typical import Typical, allowances_beside


@dataclass(frozen=True, slots=True)
class GroupRows:
    """One group of rows (one layer's K or V, or the whole quantity) after judging; arrays are `[R]`.

    Attributes:
        label: E.g. `K of layer 3`, or empty.
        fused, truth: As given, `[R, W]`.
        error, error_rms: Errors in both norms.
        size: Norms of the truth.
        allowance: Allowances in both norms; NaN where no sample was finite.
        fused_finite, truth_finite: Whether each row is finite.
    """

    label: str
    fused: NDArray[Any]
    truth: NDArray[Any]
    error: Floats
    error_rms: Floats
    size: Norms
    allowance: RowAllowances
    fused_finite: NDArray[np.bool_]
    truth_finite: NDArray[np.bool_]

    def fused_row(self, row: int) -> Floats:
        """One row of the path's, float64 `[W]`."""
        return np.asarray(self.fused[row], dtype=np.float64)

    def truth_row(self, row: int) -> Floats:
        """One row of the truth, float64 `[W]`."""
        return np.asarray(self.truth[row], dtype=np.float64)

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Both sides finite, `[R]`."""
        return self.fused_finite & self.truth_finite

    @property
    def passed(self) -> NDArray[np.bool_]:
        """Finite, judged, and within both allowances, `[R]`."""
        with np.errstate(invalid="ignore"):
            inside = (self.error <= self.allowance.largest) & (self.error_rms <= self.allowance.rms)
        return self.finite & inside

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Finite and beyond an allowance, `[R]`; a row without an allowance neither passes nor fails."""
        return self.finite & np.isfinite(self.allowance.largest) & ~self.passed


def as_groups(array: NDArray[Any]) -> NDArray[Any]:
    """Return `[G, R, W]`: G = layers x 2 for K and V, layers for routers, 1 otherwise.

    Raises:
        UsageError: Not `[W]`, `[R, W]`, `[layers, R, W]` or `[layers, 2, kv_heads, R, D]`.
    """
    if array.ndim == 1:
        return array.reshape(1, 1, -1)
    if array.ndim == 2:
        return array[None]
    if array.ndim == 3:
        return array
    if array.ndim == 5:
        layers, two, heads, rows, width = array.shape
        return array.transpose(0, 1, 3, 2, 4).reshape(layers * two, rows, heads * width)
    raise UsageError(
        "rows to judge should be [W], [R, W], [layers, R, W] or [layers, 2, kv_heads, R, D], "
        f"got shape {list(array.shape)}"
    )


def group_label(quantity: NDArray[Any], group: int) -> str:
    """Return which layer's router, K or V a group is, or an empty string."""
    if quantity.ndim == 3:
        return f"router of layer {group}"
    if quantity.ndim != 5:
        return ""
    return f"{'KV'[group % 2]} of layer {group // 2}"


def measure(
    label: str, fused: NDArray[Any], truth: NDArray[Any], samples: tuple[NDArray[Any], ...], dtype: str
) -> GroupRows:
    """Measure one group of rows, all arrays `[R, W]`; those of the result are float64."""
    alone = (
        np.asarray(fused, dtype=np.float64)[None],
        np.asarray(truth, dtype=np.float64)[None],
        tuple(np.asarray(each)[None] for each in samples),
    )
    return measure_groups([label], *alone, dtype)[0]


def measure_groups(
    labels: Sequence[str],
    fused: NDArray[Any],
    truth: NDArray[Any],
    samples: tuple[NDArray[Any], ...],
    dtype: str,
    *,
    typical: Typical | None = None,
) -> tuple[GroupRows, ...]:
    """Measure groups of rows, all arrays `[G, R, W]`; with `typical` errors `truth` is a sample."""
    size, error = norms_of(truth), norms_of(fused, truth)
    fused_finite = np.isfinite(norms_of(fused).largest)
    of_samples = [norms_of(sample, truth) for sample in samples] if typical is None else []
    beside = None if typical is None else allowances_beside(size, typical, dtype)
    return tuple(
        GroupRows(
            label=label,
            fused=fused[number],
            truth=truth[number],
            error=error.largest[number],
            error_rms=error.rms[number],
            size=size.of(number),
            allowance=allowances_of(size.of(number), [each.of(number) for each in of_samples], dtype)
            if beside is None
            else RowAllowances(beside.largest[number], beside.rms[number]),
            fused_finite=fused_finite[number],
            truth_finite=np.isfinite(size.largest[number]),
        )
        for number, label in enumerate(labels)
    )


@dataclass(frozen=True, slots=True)
class Judged:
    """One quantity after judging.

    Attributes:
        groups: Its groups, in order of layers.
        rows: Node or position of each kept row, int64 `[R]`.
    """

    groups: tuple[GroupRows, ...]
    rows: NDArray[np.int64]
