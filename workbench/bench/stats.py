"""Means, percentiles and spreads, as the tables name them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np


@dataclass(frozen=True, slots=True)
class Distribution:
    """A set of values in four numbers; percentiles interpolate linearly between the two nearest values.

    Attributes:
        num: How many values there were; with none, the others are NaN.
    """

    num: int
    mean: float
    p50: float
    p90: float
    p99: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Distribution:
        """Summarise values."""
        array = np.asarray(list(values), dtype=np.float64)
        if not array.size:
            return cls(0, math.nan, math.nan, math.nan, math.nan)
        p50, p90, p99 = (float(each) for each in np.percentile(array, (50, 90, 99)))
        return cls(array.size, float(array.mean()), p50, p90, p99)


@dataclass(frozen=True, slots=True)
class Spread:
    """One number measured several times.

    Attributes:
        value: The median.
        low, high: Smallest and largest.
        num: Repetitions.
    """

    value: float
    low: float
    high: float
    num: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise repetitions of one number; NaN where there is none."""
        if not values:
            return cls(math.nan, math.nan, math.nan, 0)
        return cls(float(np.median(values)), min(values), max(values), len(values))


_T_95: Final = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t at 95 %, two-sided, by degrees of freedom from 1 on."""
_Z_95: Final = 1.95996


def interval_of_mean(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the interval of 95 % of a mean by Student's t; None for fewer than two values.

    The values are taken as drawn independently from one distribution, roughly normal.
    """
    if len(values) < 2:
        return None
    freedom = len(values) - 1
    series = 1 + (_Z_95**2 + 1) / (4 * freedom) + (5 * _Z_95**4 + 16 * _Z_95**2 + 3) / (96 * freedom**2)
    t = _T_95[freedom - 1] if freedom <= len(_T_95) else _Z_95 * series
    reach = t * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    centre = float(np.mean(values))
    return centre - reach, centre + reach


def ratio(top: float, bottom: float) -> float:
    """Return a quotient, NaN where there is none."""
    return top / bottom if bottom else math.nan


def plain(value: Any) -> Any:
    """Return data as JSON can hold it: NaN as null, tuples as lists."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def mean(values: Iterable[float]) -> float:
    """Return the mean, NaN of nothing."""
    array = list(values)
    return float(np.mean(array)) if array else math.nan


def distinct_share(token_ids: Sequence[int], width: int = 4) -> float:
    """Return the share of distinct n-grams of a text, 1 where it is too short to repeat any."""
    grams = [tuple(token_ids[i : i + width]) for i in range(len(token_ids) - width + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0
