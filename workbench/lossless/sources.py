"""Random sources that fork: they look like numpy's `Generator`, `random.Random`, and both modules."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import permutations
from typing import Any, Final

import numpy as np

from tracing.errors import UsageError
from workbench.lossless.draw import as_number
from workbench.lossless.expressions import Uncertain
from workbench.lossless.forks import Forks, OpaqueDrawError
from workbench.lossless.law import Number

MAX_INTEGERS: Final = 1024
MAX_SHUFFLED: Final = 6
"""Items whose orders are enumerated; 720 of them."""


def weights_of(values: Any) -> list[Number]:
    """Return probabilities as fractions, refusing what no sampler takes.

    Raises:
        ValueError: One is negative, NaN or infinite, or all are zero.
    """
    numbers = [as_number(value) for value in np.asarray(values, dtype=object).ravel()]
    if any(number is None or not math.isfinite(number) or number < 0 for number in numbers) or not any(
        numbers
    ):
        raise ValueError(f"probabilities {[str(value) for value in values]} cannot be drawn from")
    return [Fraction(number) for number in numbers if number is not None]


class ForkingChance:
    """Draws of every kind, in arrays of objects or alone.

    Attributes:
        forks: Where discrete draws are decided.
        uniform_draw: Gives a fresh draw; takes its bits in floating point.
    """

    def __init__(self, forks: Forks, uniform_draw: Callable[..., Any]) -> None:
        self.forks = forks
        self.uniform_draw = uniform_draw

    def index(self, weights: Any, what: str) -> int:
        """Return an index drawn with these weights."""
        return self.forks.choose(weights_of(weights), what)

    def integer(self, count: int) -> int:
        """Return a whole number below `count`.

        Raises:
            OpaqueDrawError: There are so many that it is hardly a choice but the seed of another source.
        """
        if count > MAX_INTEGERS:
            raise OpaqueDrawError
        return self.forks.choose([Fraction(1)] * count, "integer")

    def filled(self, size: Any, make: Callable[[], Any]) -> Any:
        """Return one draw, or an array of them: `size` is None, a number or a shape."""
        if size is None:
            return make()
        shape = (size,) if isinstance(size, (int, np.integer)) else tuple(size)
        whole = np.empty(shape, dtype=object)
        for place in np.ndindex(*shape):
            whole[place] = make()
        return whole

    def exponential_draw(self) -> Any:
        """Return a fresh exponential draw of mean 1."""
        draw = self.uniform_draw()
        return -(draw.log() if isinstance(draw, Uncertain) else math.log(draw))

    def exponential_rows(self, shape: tuple[int, ...]) -> Any:
        """Return exponential draws of which each row decides together."""
        return self.filled(shape, self.exponential_draw)

    def gumbel_draw(self) -> Any:
        """Return a fresh standard Gumbel draw."""
        draw = self.exponential_draw()
        return -(draw.log() if isinstance(draw, Uncertain) else math.log(draw))

    def order(self, size: int) -> tuple[int, ...]:
        """Return a random order of this many items."""
        if size > MAX_SHUFFLED:
            raise UsageError(f"the orders of {size} items are too many to enumerate; at most {MAX_SHUFFLED}")
        orders = list(permutations(range(size)))
        return orders[self.forks.choose([Fraction(1)] * len(orders), f"order of {size}")]


def _unknown(kind: str, name: str, known: Sequence[str]) -> AttributeError:
    return AttributeError(f"{kind}.{name} is not enumerated here; known are {', '.join(known)}")


class ForkingGenerator:
    """What a verifier takes for a `numpy.random.Generator`."""

    def __init__(self, chance: ForkingChance) -> None:
        self.chance = chance

    def __getattr__(self, name: str) -> Any:
        raise _unknown("Generator", name, [each for each in dir(type(self)) if not each.startswith("_")])

    def random(self, size: Any = None, dtype: Any = None, out: Any = None) -> Any:
        """Return uniform draws on [0, 1)."""
        if out is not None:
            raise UsageError("Generator.random(out=...) is not enumerated here; use its result")
        is_single = dtype is not None and np.dtype(dtype).itemsize == 4
        return self.chance.filled(size, lambda: self.chance.uniform_draw(24 if is_single else 53))

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        """Return uniform draws on [low, high)."""
        return self.chance.filled(size, lambda: low + (high - low) * self.chance.uniform_draw())

    def standard_exponential(self, size: Any = None, *_: Any, **__: Any) -> Any:
        """Return exponential draws of mean 1."""
        return self.chance.filled(size, self.chance.exponential_draw)

    def exponential(self, scale: Any = 1.0, size: Any = None) -> Any:
        """Return exponential draws of this mean."""
        return scale * self.chance.filled(size, self.chance.exponential_draw)

    def gumbel(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        """Return Gumbel draws."""
        return self.chance.filled(size, lambda: loc + scale * self.chance.gumbel_draw())

    def integers(
        self, low: int, high: int | None = None, size: Any = None, *_: Any, endpoint: bool = False
    ) -> Any:
        """Return whole numbers from `low`, below `high`."""
        first, last = (0, low) if high is None else (low, high)
        count = int(last) - int(first) + int(endpoint)
        return self.chance.filled(size, lambda: int(first) + self.chance.integer(count))

    def choice(self, a: Any, size: Any = None, replace: bool = True, p: Any = None) -> Any:
        """Return elements drawn with probabilities `p`."""
        items = np.arange(a) if isinstance(a, (int, np.integer)) else np.asarray(a)
        weights = [Fraction(1)] * len(items) if p is None else weights_of(p)

        def one() -> Any:
            index = self.chance.index(weights, "choice")
            if not replace:
                weights[index] = Fraction(0)
            return items[index]

        drawn = self.chance.filled(size, one)
        return drawn.astype(items.dtype) if isinstance(drawn, np.ndarray) else drawn

    def multinomial(self, n: int, pvals: Any, size: Any = None) -> Any:
        """Return how often each index comes in `n` draws."""

        def one() -> Any:
            counts = np.zeros(len(pvals), dtype=np.int64)
            for _ in range(int(n)):
                counts[self.chance.index(pvals, "multinomial")] += 1
            return counts

        if size is None:
            return one()
        return np.array([one() for _ in range(int(size))])

    def binomial(self, n: int, p: Any, size: Any = None) -> Any:
        """Return how many of `n` trials succeed."""
        return self.chance.filled(
            size, lambda: sum(1 - self.chance.index([p, 1 - p], "binomial") for _ in range(int(n)))
        )

    def permutation(self, x: Any) -> Any:
        """Return the items in a random order."""
        items = np.arange(x) if isinstance(x, (int, np.integer)) else np.asarray(x)
        return items[list(self.chance.order(len(items)))]

    def shuffle(self, x: Any) -> None:
        """Put the items in a random order."""
        x[:] = [x[i] for i in self.chance.order(len(x))]

    rand = random_sample = random


class ForkingRandom(random.Random):
    """What a verifier takes for a `random.Random`."""

    def __init__(self, chance: ForkingChance) -> None:
        super().__init__(0)
        self.chance = chance

    def random(self) -> Any:
        """Return a uniform draw on [0, 1)."""
        return self.chance.uniform_draw()

    def uniform(self, a: Any, b: Any) -> Any:
        """Return a uniform draw on [a, b)."""
        return a + (b - a) * self.chance.uniform_draw()

    def expovariate(self, lambd: Any = 1.0) -> Any:
        """Return an exponential draw."""
        return self.chance.exponential_draw() / lambd

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        """Return a number of the range."""
        every = range(start) if stop is None else range(start, stop, step)
        return every[self.chance.integer(len(every))]

    def randint(self, a: int, b: int) -> int:
        """Return a whole number from a to b."""
        return self.randrange(a, b + 1)

    def choice(self, seq: Any) -> Any:
        """Return one of the items."""
        return seq[self.randrange(len(seq))]

    def choices(
        self, population: Any, weights: Any = None, *, cum_weights: Any = None, k: int = 1
    ) -> list[Any]:
        """Return items drawn with these weights."""
        if cum_weights is not None:
            weights = [b - a for a, b in zip([0, *cum_weights], cum_weights, strict=False)]
        each = [1] * len(population) if weights is None else weights
        return [population[self.chance.index(each, "choices")] for _ in range(k)]

    def shuffle(self, x: Any) -> None:
        """Put the items in a random order."""
        x[:] = [x[i] for i in self.chance.order(len(x))]

    def sample(self, population: Any, k: int, **_: Any) -> list[Any]:
        """Return some of the items in a random order."""
        return [population[i] for i in self.chance.order(len(population))[:k]]

    def getrandbits(self, k: int, /) -> int:
        """Return whole numbers of few bits only."""
        return self.randrange(1 << k)

    def seed(self, a: Any = None, version: int = 2) -> None:
        """Do nothing: there is no state."""
