"""A uniform draw, what is known of it, and who decides comparisons of what depends on it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from numbers import Real
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from workbench.lossless.law import Number

View = Literal["uniform", "exponential", "gumbel"]
FloatArray = NDArray[np.float64]


class Comparing(Protocol):
    """Decides how a comparison falls."""

    def compare(self, one: Any, other: Any, *, is_less: bool, is_strict: bool) -> bool:
        """Return whether `one < other` (or `>`), or equal where it is not strict."""
        ...


@dataclass(eq=False, slots=True)
class UniformDraw:
    """A uniform draw and what is known of it in this run.

    Attributes:
        comparing: Where comparisons are decided.
        index: Its number within the run.
        low: It is at least this.
        high: It is less than this.
        joint: What is known of it together with other draws, if anything.
        bits: It is a multiple of `2**-bits` in floating point.
    """

    comparing: Comparing
    index: int
    low: Number = Fraction(0)
    high: Number = Fraction(1)
    joint: Any = field(default=None, repr=False)
    bits: int = 53

    @property
    def is_fresh(self) -> bool:
        """Whether nothing is known of it."""
        return self.joint is None and self.low == 0 and self.high == 1


def as_number(value: Any) -> Number | None:
    """Return a number as a fraction if it is finite, as a float if it is not, None if it is none."""
    if isinstance(value, Fraction):
        return value
    plain = value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value
    if isinstance(plain, int):
        return Fraction(plain)
    if not isinstance(plain, Real):
        return None
    number = float(plain)
    return Fraction(number) if math.isfinite(number) else number
