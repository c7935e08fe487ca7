"""Numbers that are not decided yet: a draw, or what was computed from draws. Comparing one forks.

A draw is uniform on [0, 1). `Term` is a draw, its logarithm (an exponential draw) or the logarithm of that (a
Gumbel draw), times and plus a number; comparing it with a number is exact. `Compound` is anything else.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal

import numpy as np

from workbench.lossless.draw import FloatArray, UniformDraw, View, as_number
from workbench.lossless.forks import OpaqueDrawError
from workbench.lossless.law import Number

NEVER: Final = ("isnan", "isinf", "isneginf", "isposinf")
"""Functions of numpy that are False of every draw, but for a set of probability 0."""


class Uncertain:
    """A number that depends on draws."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """Let numpy treat it as an array of objects without axes."""
        if function.__name__ in NEVER:
            return False
        if any(getattr(getattr(out, "dtype", None), "kind", "O") != "O" for out in options.get("out", ())):
            raise OpaqueDrawError
        return getattr(function, method)(*map(_as_object, inputs), **options)

    def __float__(self) -> float:
        """Give up: a plain number cannot be followed."""
        raise OpaqueDrawError

    __int__ = __index__ = __bool__ = __round__ = __floor__ = __ceil__ = __trunc__ = __float__

    def __eq__(self, other: object) -> bool:
        """Return whether it is the same object; equality with a number has probability 0."""
        return self is other

    def __lt__(self, other: Any) -> Any:
        return _compared(self, other, is_less=True, is_strict=True)

    def __le__(self, other: Any) -> Any:
        return _compared(self, other, is_less=True, is_strict=False)

    def __gt__(self, other: Any) -> Any:
        return _compared(self, other, is_less=False, is_strict=True)

    def __ge__(self, other: Any) -> Any:
        return _compared(self, other, is_less=False, is_strict=False)

    def __add__(self, other: Any) -> Any:
        return _combined(operator.add, self, other)

    def __mul__(self, other: Any) -> Any:
        return _combined(operator.mul, self, other)

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> Any:
        return self * -1

    def __sub__(self, other: Any) -> Any:
        return self + (-other if isinstance(other, Uncertain) else -1 * other)

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __truediv__(self, other: Any) -> Any:
        if isinstance(other, Uncertain):
            return self * other.reciprocal()
        number = as_number(other)
        return NotImplemented if number is None else self * _inverse(number)

    def __rtruediv__(self, other: Any) -> Any:
        return self.reciprocal() * other

    def __pow__(self, power: Any) -> Any:
        number = as_number(power)
        if number == 1:
            return self
        return self.reciprocal() if number == -1 else (self.log() * power).exp()

    def __abs__(self) -> Any:
        return self if self >= 0 else -self

    def item(self) -> Any:
        """Return itself, as arrays without axes do."""
        return self

    def reciprocal(self) -> Any:
        """Return 1 / self."""
        return Compound("reciprocal", (self,))

    def log(self) -> Any:
        """Return the natural logarithm."""
        return Compound("log", (self,))

    def exp(self) -> Any:
        """Return e to this power."""
        return Compound("exp", (self,))

    def draws(self) -> tuple[UniformDraw, ...]:
        """Return the draws that it depends on, in order."""
        raise NotImplementedError

    def bounds(
        self, low: FloatArray, high: FloatArray, where: dict[int, int]
    ) -> tuple[FloatArray, FloatArray]:
        """Return the least and greatest value on boxes.

        Args:
            low: Least value of each draw, `[boxes, draws]`.
            high: Greatest value, likewise.
            where: Number of a draw to its column.
        """
        raise NotImplementedError


@dataclass(frozen=True, eq=False, slots=True)
class Term(Uncertain):
    """`offset + scale * view of a draw`, or `offset + scale / view`."""

    draw: UniformDraw
    view: View = "uniform"
    scale: Number = Fraction(1)
    offset: Number = Fraction(0)
    is_inverse: bool = False

    def times(self, factor: Number) -> Uncertain | Number:
        """Return this times a number."""
        if not factor:
            return Fraction(0)
        return Term(self.draw, self.view, self.scale * factor, self.offset * factor, self.is_inverse)

    def plus(self, number: Number) -> Term:
        """Return this plus a number."""
        return Term(self.draw, self.view, self.scale, self.offset + number, self.is_inverse)

    def reciprocal(self) -> Any:
        """Return 1 / self, a term if there is no offset."""
        if self.offset:
            return Compound("reciprocal", (self,))
        return Term(self.draw, self.view, 1 / self.scale, is_inverse=not self.is_inverse)

    def log(self) -> Any:
        """Return the logarithm: of a uniform draw minus an exponential one, of that a Gumbel one."""
        if self.offset or self.scale <= 0 or (self.is_inverse and self.view != "exponential"):
            return Compound("log", (self,))
        shift = Fraction(0) if self.scale == 1 else Fraction(math.log(self.scale))
        if self.view == "uniform":
            return Term(self.draw, "exponential", Fraction(-1), shift)
        if self.view == "exponential":  # log E is minus a Gumbel draw
            return Term(self.draw, "gumbel", Fraction(1 if self.is_inverse else -1), shift)
        return Compound("log", (self,))

    def exp(self) -> Any:
        """Return e to this power, a term where it undoes a logarithm."""
        factor = Fraction(math.exp(self.offset)) if self.offset else Fraction(1)
        if not self.is_inverse and self.view == "exponential" and self.scale == -1:
            return Term(self.draw, "uniform", factor)
        if not self.is_inverse and self.view == "gumbel" and abs(self.scale) == 1:
            return Term(self.draw, "exponential", factor, is_inverse=self.scale > 0)
        return Compound("exp", (self,))

    def draws(self) -> tuple[UniformDraw, ...]:
        """Return its one draw."""
        return (self.draw,)

    def bounds(
        self, low: FloatArray, high: FloatArray, where: dict[int, int]
    ) -> tuple[FloatArray, FloatArray]:
        """Return the least and greatest value on boxes; every view is monotone."""
        column = where[self.draw.index]
        ends = [self._at(side[:, column]) for side in (low, high)]
        return np.minimum(*ends), np.maximum(*ends)

    def _at(self, uniform: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            seen = uniform if self.view == "uniform" else 0.0 - np.log(uniform)
            seen = -np.log(seen) if self.view == "gumbel" else seen
            return float(self.offset) + float(self.scale) * (1 / seen if self.is_inverse else seen)


@dataclass(frozen=True, eq=False, slots=True)
class Compound(Uncertain):
    """A function of several numbers, evaluated on boxes only."""

    function: Literal["add", "mul", "reciprocal", "log", "exp"]
    parts: tuple[Any, ...]

    def draws(self) -> tuple[UniformDraw, ...]:
        """Return the draws of its parts."""
        found = {
            draw.index: draw for part in self.parts if isinstance(part, Uncertain) for draw in part.draws()
        }
        return tuple(found[index] for index in sorted(found))

    def bounds(
        self, low: FloatArray, high: FloatArray, where: dict[int, int]
    ) -> tuple[FloatArray, FloatArray]:
        """Return bounds of the value on boxes, by interval arithmetic."""
        sides = [
            part.bounds(low, high, where)
            if isinstance(part, Uncertain)
            else (np.full(len(low), float(part)), np.full(len(low), float(part)))
            for part in self.parts
        ]
        with np.errstate(all="ignore"):
            if self.function == "add":
                return sides[0][0] + sides[1][0], sides[0][1] + sides[1][1]
            if self.function == "mul":
                products = [np.nan_to_num(one * two, nan=0.0) for one in sides[0] for two in sides[1]]
                return np.minimum.reduce(products), np.maximum.reduce(products)
            least, most = sides[0]
            if self.function == "reciprocal":
                spans = (least < 0) & (most > 0)
                ends = (1 / least, 1 / most)
                return (
                    np.where(spans, -np.inf, np.minimum(*ends)),
                    np.where(spans, np.inf, np.maximum(*ends)),
                )
            each = np.log if self.function == "log" else np.exp
            return np.nan_to_num(each(least), nan=-np.inf), np.nan_to_num(each(most), nan=np.inf)


def _as_object(value: Any) -> Any:
    if not isinstance(value, Uncertain):
        return value
    wrapped = np.empty((), dtype=object)
    wrapped[()] = value
    return wrapped


def _inverse(number: Number) -> Number:
    return math.copysign(math.inf, 1) if not number else 1 / number


def _combined(function: Callable[..., Any], one: Uncertain, other: Any) -> Any:
    """Return a sum or product, a term where a number meets a term."""
    is_sum = function is operator.add
    if isinstance(other, Uncertain):
        return Compound("add" if is_sum else "mul", (one, other))
    number = as_number(other)
    if number is None:
        return NotImplemented
    if isinstance(one, Term) and math.isfinite(number):
        return one.plus(number) if is_sum else one.times(number)
    if is_sum:
        return Compound("add", (one, number)) if math.isfinite(number) else number
    if math.isfinite(number) and number:
        return Compound("mul", (one, number))
    return (
        number
        if not number
        else (math.copysign(math.inf, number) if one > 0 else -math.copysign(math.inf, number))
    )


def _compared(one: Uncertain, other: Any, *, is_less: bool, is_strict: bool) -> Any:
    if not isinstance(other, Uncertain):
        number = as_number(other)
        if number is None:
            return NotImplemented
        if not math.isfinite(number):
            return False if math.isnan(number) else (number > 0) == is_less
        other = number
    return one.draws()[0].comparing.compare(one, other, is_less=is_less, is_strict=is_strict)
