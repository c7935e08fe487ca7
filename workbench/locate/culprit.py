"""What is wrong with one tensor: which rows, heads and elements are beyond what rounding allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracing.intermediates import TensorPlace, place_of
from tracing.stages import BoolArray
from workbench.judge.measured import GroupRows, measure

MOST: Final = 0.5
"""Share of a row's elements from which the row is wrong as a whole."""
HEADS: Final = frozenset({"H", "H_kv"})


@dataclass(frozen=True, slots=True)
class Extent:
    """Which part of a tensor is wrong; None is all of an axis.

    Attributes:
        rows: Numbers of the rows, as the stage counts them.
        heads: None also where the tensor has no heads.
        elements: Within a row or a head; None also where most of them are.
        place: Row, then head where there is one, then element: the worst.
    """

    rows: tuple[int, ...] | None
    heads: tuple[int, ...] | None
    elements: tuple[int, ...] | None
    place: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Culprit:
    """One tensor that its own inputs do not give.

    Attributes:
        name: Full name.
        operator: What computes it; `input`, `cache` or `hand-over` for what no operator computes.
        forward: Number of the forward within its stage.
        counted: What its rows are: `node`, `position`, `beam` or `row`.
        extent: Which part of it.
        fused, reference: Values at the worst place.
        error, allowance: Of the worst row or head; None where the values are exact or not finite.
        between: Tensors before it that the path did not give: it may be one of these.
    """

    name: str
    operator: str
    forward: int
    counted: str
    extent: Extent
    fused: float
    reference: float
    error: float | None = None
    allowance: float | None = None
    between: tuple[str, ...] = ()

    @property
    def layer(self) -> int | None:
        """Number of the layer or head; None outside of layers."""
        return place_of(self.name).layer

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "layer": self.layer}


@dataclass(frozen=True, slots=True)
class TensorRows:
    """A tensor and what it ought to be, rows first.

    Attributes:
        name: Full name.
        own: As the path gave it, `[R, ...]`.
        truth: One precision above.
        samples: The reference at the path's precision.
        numbers: Of the rows, int64 `[R]`.
        is_every: Whether these are all rows of the forward.
    """

    name: str
    own: NDArray[Any]
    truth: NDArray[Any]
    samples: tuple[NDArray[Any], ...]
    numbers: NDArray[np.int64]

    def measured(self, dtype: str) -> GroupRows:
        """Measure its rows."""
        rows = len(self.own)
        flat = (each.reshape(rows, -1) for each in (self.own, self.truth, *self.samples))
        own, truth, *samples = flat
        return measure(self.name, own, truth, tuple(samples), dtype)

    def by_head(self, dtype: str) -> GroupRows:
        """Measure its heads, row by row, `[R * H]`."""
        width = self.own.shape[-1]
        own, truth, *samples = (each.reshape(-1, width) for each in (self.own, self.truth, *self.samples))
        return measure(self.name, own, truth, tuple(samples), dtype)


def is_wrong(measured: GroupRows) -> BoolArray:
    """Return the rows that are beyond an allowance, or not finite where they should be, `[R]`."""
    wrong: BoolArray = measured.failed | (measured.truth_finite & ~measured.fused_finite)
    return wrong


def culprit_of(rows: TensorRows, dtype: str, **about: Any) -> Culprit:
    """Say what is wrong with a tensor of which a row is."""
    has_heads = bool(HEADS & set(_place(rows.name).tensor.axes)) and rows.own.ndim == 3
    measured = rows.by_head(dtype) if has_heads else rows.measured(dtype)
    wrong = is_wrong(measured)
    if not wrong.any():  # no head alone, but the row
        has_heads, measured = False, rows.measured(dtype)
        wrong = is_wrong(measured)
    per_row = rows.own.shape[1] if has_heads else 1
    cells: NDArray[Any] = wrong.reshape(-1, per_row)
    with np.errstate(invalid="ignore"):
        error = np.abs(measured.fused - measured.truth)
        ratio = measured.error / np.maximum(measured.allowance.largest, np.finfo(np.float64).tiny)
    ratio = np.where(wrong, np.where(np.isfinite(ratio), ratio, np.inf), -1.0)
    worst = int(ratio.argmax())
    element = int(np.where(np.isfinite(error[worst]), error[worst], np.inf).argmax())
    row, head = divmod(worst, per_row)
    number = int(rows.numbers[row])
    finite = bool(np.isfinite(measured.error[worst]))
    return Culprit(
        name=rows.name,
        extent=Extent(
            rows=_some(np.any(cells, axis=1), rows.numbers),
            heads=_some(np.any(cells, axis=0), np.arange(per_row)) if has_heads else None,
            elements=_elements(measured, error, wrong),
            place=(number, head, element) if has_heads else (number, element),
        ),
        fused=float(measured.fused[worst, element]),
        reference=float(measured.truth[worst, element]),
        error=float(measured.error[worst]) if finite else None,
        allowance=float(measured.allowance.largest[worst]) if finite else None,
        **about,
    )


def _elements(measured: GroupRows, error: NDArray[Any], wrong: BoolArray) -> tuple[int, ...] | None:
    """Return the elements that are beyond the allowance of their row in any wrong row; None for most."""
    with np.errstate(invalid="ignore"):
        beyond = (error > measured.allowance.largest[:, None]) | ~np.isfinite(measured.fused)
    touched = beyond[wrong].any(axis=0)
    if not touched.any() or touched.mean() > MOST:
        return None
    return tuple(np.flatnonzero(touched).tolist())


def exact_culprit(rows: TensorRows, **about: Any) -> Culprit | None:
    """Compare values that no rounding touches; None where they are equal."""
    width = rows.own[0].size if rows.own.ndim > 1 else 1
    own, truth = rows.own.reshape(-1, width), rows.truth.reshape(-1, width)
    different = own != truth
    if not different.any():
        return None
    row, element = (int(each[0]) for each in np.nonzero(different))
    touched = different.any(axis=0)
    return Culprit(
        name=rows.name,
        extent=Extent(
            rows=_some(different.any(axis=1), rows.numbers),
            heads=None,
            elements=tuple(np.flatnonzero(touched).tolist()) if width > 1 else None,
            place=(int(rows.numbers[row]), element) if width > 1 else (int(rows.numbers[row]),),
        ),
        fused=float(own[row, element]),
        reference=float(truth[row, element]),
        **about,
    )


def _some(mask: Any, numbers: Sequence[int] | NDArray[Any]) -> tuple[int, ...] | None:
    """Return the numbers where a mask is True; None where it is everywhere."""
    return None if mask.all() else tuple(int(each) for each in np.asarray(numbers)[mask])


def _place(name: str) -> TensorPlace:
    return place_of(name)
