"""Bins and ticks that fit the values: few values are points, counts have whole ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from workbench.bench.tables import Plot

MIN_BINNED: Final = 12
"""Values from which on bins say more than the values themselves."""
MAX_BINS: Final = 30
MAX_UNIT_TICKS: Final = 10
"""Whole numbers up to which each has a tick."""
_STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Bins:
    """Bins of equal width.

    Attributes:
        start, width: Lower edge of the first, and how wide each is, in units of the values.
        most: Values in the fullest.
    """

    start: float
    width: float
    most: int


def numbers(values: Iterable[Any]) -> list[float]:
    """Return the finite numbers among values."""
    return [each for each in values if isinstance(each, int | float) and math.isfinite(each)]


def whole(values: Sequence[float]) -> bool:
    """Return whether there are values, and all are whole numbers."""
    return bool(values) and all(float(each).is_integer() for each in values)


def is_few(plot: Plot) -> bool:
    """Return whether the values of a histogram are better shown one by one."""
    return all(0 < len(numbers(series.x)) == len(series.x) for series in plot.series) and (
        max(len(set(series.x)) for series in plot.series) < MIN_BINNED
    )


def bins_of(plot: Plot) -> Bins | None:
    """Return bins of a round width for all series together, whole for whole numbers; None without numbers."""
    each = [numbers(series.x) for series in plot.series]
    values = [value for series in each for value in series]
    if not values:
        return None
    low, high = min(values), max(values)
    width = _round_up((high - low) / MAX_BINS or abs(high) / MAX_BINS or 1.0)
    if whole(values):
        width = max(1.0, math.ceil(width))
    start = math.floor(low / width) * width
    edges = np.arange(start, high + 2 * width, width)
    most = max(int(np.histogram(series, edges)[0].max()) for series in each if series)
    return Bins(start, width, most)


def ticks(values: Sequence[float]) -> dict[str, Any]:
    """Return the ticks of an axis from 0 on: whole where the values are, every one of few."""
    if not whole(values):
        return {}
    few = min(values) >= 0 and max(values) <= MAX_UNIT_TICKS
    return {"tickformat": ",d", **({"dtick": 1} if few else {})}


def _round_up(width: float) -> float:
    unit = 10.0 ** math.floor(math.log10(width))
    return next(step * unit for step in _STEPS if step * unit >= width * (1 - 1e-9))
