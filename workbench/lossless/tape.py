"""Plain numbers in place of draws: one coordinate a draw, given or drawn, in order of use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench.lossless.forks import Forks
from workbench.lossless.law import Number
from workbench.lossless.sources import ForkingChance, weights_of


class Tape:
    """Coordinates of one run.

    Attributes:
        values: Those used, given ones first.
        races: Coordinates of each row of exponential draws.
    """

    def __init__(self, given: list[float] | None = None, seed: int = 0) -> None:
        self.values: list[float] = []
        self.races: list[tuple[int, ...]] = []
        self._given = given or []
        self._more = np.random.Generator(np.random.Philox(seed))

    def uniform(self, _bits: int = 53) -> float:
        """Return the next coordinate, uniform on [0, 1)."""
        return self._next(is_exponential=False)

    def race(self, size: int) -> list[float]:
        """Return the next coordinates as exponential draws that decide together."""
        first = len(self.values)
        self.races.append(tuple(range(first, first + size)))
        return [self._next(is_exponential=True) for _ in range(size)]

    def _next(self, *, is_exponential: bool) -> float:
        at = len(self.values)
        if at < len(self._given):
            value = float(self._given[at])
        else:
            value = float(self._more.uniform())
            value = -math.log1p(-value) if is_exponential else value
        self.values.append(value)
        return value


class TapeForks(Forks):
    """Decisions that a tape makes, one after another, instead of all ways in which they can fall."""

    def __init__(self, chance: ForkingChance) -> None:
        super().__init__()
        self._chance = chance

    def choose(self, weights: Sequence[Number], label: str) -> int:
        """Return an index drawn with these weights."""
        return self._chance.index(weights, label)


class TapeChance(ForkingChance):
    """Draws that are plain numbers of a tape."""

    def __init__(self, tape: Tape) -> None:
        super().__init__(Forks(), tape.uniform)
        self._tape = tape

    def index(self, weights: Any, what: str) -> int:  # noqa: ARG002 the decision has no name on a tape
        """Return an index by the inverse of the cumulative law, which is one uniform coordinate."""
        numbers: list[Number] = weights_of(weights)
        coin = self._tape.uniform() * float(sum(numbers))
        for index, weight in enumerate(numbers):
            coin -= float(weight)
            if coin < 0:
                return index
        return max(i for i, weight in enumerate(numbers) if weight)

    def integer(self, count: int) -> int:
        """Return a whole number, of one uniform coordinate."""
        return int(self._tape.uniform() * count)

    def order(self, size: int) -> tuple[int, ...]:
        """Return a random order, by sorting as many coordinates."""
        return tuple(int(i) for i in np.argsort([self._tape.uniform() for _ in range(size)]))

    def exponential_rows(self, shape: tuple[int, ...]) -> Any:
        """Return exponential draws of which each row decides together."""
        rows = [self._tape.race(shape[-1]) for _ in range(math.prod(shape[:-1]))]
        return np.array(rows).reshape(shape)

    def filled(self, size: Any, make: Any) -> Any:
        """Return plain numbers, as an array of floats where there are several."""
        if make == self.exponential_draw and size is not None and size != ():
            return self.exponential_rows((size,) if isinstance(size, int) else tuple(size))
        whole = super().filled(size, make)
        if isinstance(whole, np.ndarray) and all(isinstance(each, float) for each in whole.ravel()):
            return whole.astype(np.float64)
        return whole
