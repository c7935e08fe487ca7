"""Functions of plain numbers: their law by finding, coordinate by coordinate, where the result changes.

For code whose draws cannot be followed (a compiled kernel, an array of floats). Three assumptions are made
and tested at points drawn at random: along each uniform coordinate the result changes at a few fixed places;
a row of exponential draws decides as a race does (the least `draw / weight` wins); nothing else is random.
Where a test fails the law is sampled instead, and the error is that of the sample.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from typing import Any, Final

import numpy as np

from workbench.lossless.expressions import FloatArray
from workbench.lossless.law import Number

Evaluate = Callable[[FloatArray], list[Any]]
"""From points, `[points, coordinates]`, to the result of each."""
BASES: Final = 12
GRID: Final = 17
HALVINGS: Final = 40
MAX_CUTS: Final = 12
MAX_CELLS: Final = 4096
TESTS: Final = 96
FAR: Final = 1e12
SAMPLE_DOUBT: Final = 1e-6
"""Probability that the stated error of a sampled law is too small."""


@dataclass(frozen=True)
class Coordinates:
    """What the coordinates of a function are.

    Attributes:
        size: Number of coordinates.
        races: Coordinates of each row of exponential draws; all others are uniform on [0, 1).
    """

    size: int
    races: tuple[tuple[int, ...], ...] = ()

    @property
    def uniforms(self) -> tuple[int, ...]:
        """Coordinates that are in no race."""
        raced = {i for race in self.races for i in race}
        return tuple(i for i in range(self.size) if i not in raced)

    def random_points(self, count: int, seed: int) -> FloatArray:
        """Return points of the law of the coordinates, always the same ones for a seed."""
        chance = np.random.Generator(np.random.Philox(seed))
        points = chance.uniform(size=(count, self.size))
        for race in self.races:
            points[:, race] = -np.log1p(-points[:, race])
        return points


@dataclass
class OpenedLaw:
    """The law of a function of plain numbers.

    Attributes:
        law: Result to probability.
        error: Bound on the total variation to the true law.
        is_sampled: Whether an assumption failed, so that the law is a sample's.
        evaluations: Calls of the function.
    """

    law: dict[Any, Number] = field(default_factory=dict)
    error: float = 0.0
    is_sampled: bool = False
    evaluations: int = 0


class _Refuted(Exception):  # noqa: N818  not an error: the assumption does not hold
    """The function does not do what the assumptions say."""


def opened(evaluate: Evaluate, coordinates: Coordinates, samples: int) -> OpenedLaw:
    """Return the law of a function; `samples` is the size of a sample if it has to come to that."""
    counted = _Counted(evaluate)
    try:
        cuts = _all_cuts(counted, coordinates)
        law = _law_of_cells(counted, coordinates, cuts)
    except _Refuted:
        return replace(_sampled(counted, coordinates, samples), evaluations=counted.calls)
    width = sum(map(len, cuts.values())) * 2.0**-HALVINGS
    return OpenedLaw(law, width + len(coordinates.races) * 1e-9, evaluations=counted.calls)


@dataclass(frozen=True)
class _Change:
    """Two points of a line along a coordinate, by that coordinate, with different results."""

    base: FloatArray
    coordinate: int
    low: float
    high: float
    left: Any
    right: Any

    def at(self, values: Sequence[float]) -> FloatArray:
        """Return points of the line."""
        return _at(self.base, self.coordinate, values)


class _Counted:
    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate = evaluate
        self.calls = 0

    def __call__(self, points: FloatArray) -> list[Any]:
        self.calls += len(points)
        return self._evaluate(points) if len(points) else []


def _all_cuts(evaluate: _Counted, coordinates: Coordinates) -> dict[int, list[float]]:
    """Return where the result changes along each uniform coordinate."""
    bases = coordinates.random_points(BASES, 1)
    return {i: sorted(_cuts_along(evaluate, bases, i)) for i in coordinates.uniforms}


def _cuts_along(evaluate: _Counted, bases: FloatArray, coordinate: int) -> list[float]:
    grid = np.linspace(0, 1, GRID, endpoint=False) + 0.5 / GRID
    grid = np.concatenate([[2.0**-HALVINGS], grid, [1 - 2.0**-HALVINGS]])
    points = np.repeat(bases, len(grid), axis=0)
    points[:, coordinate] = np.tile(grid, len(bases))
    results = evaluate(points)
    cuts: list[float] = []
    for row, base in enumerate(bases):
        line = results[row * len(grid) : (row + 1) * len(grid)]
        for (low, high), (left, right) in zip(pairwise(grid), pairwise(line), strict=True):
            change = _Change(base, coordinate, float(low), float(high), left, right)
            if left != right and not _is_explained(evaluate, change, cuts):
                cuts += _bisected(evaluate, change)
            if len(cuts) > MAX_CUTS:
                raise _Refuted
    return cuts


def _at(base: FloatArray, coordinate: int, values: Sequence[float]) -> FloatArray:
    points = np.repeat(base[None], len(values), axis=0)
    points[:, coordinate] = values
    return points


def _is_explained(evaluate: _Counted, change: _Change, cuts: list[float]) -> bool:
    """Return whether the results between two points change just at places that are known already."""
    known = sorted(cut for cut in cuts if change.low < cut < change.high)
    if not known:
        return False
    beside = [cut + side * 2.0 ** (2 - HALVINGS) for cut in known for side in (-1, 1)]
    seen = [change.left, *evaluate(change.at(beside)), change.right]
    return all(seen[i] == seen[i + 1] for i in range(0, len(seen), 2))


def _bisected(evaluate: _Counted, change: _Change) -> list[float]:
    """Return places between two points where the result changes, at least one."""
    while change.high - change.low > 2.0**-HALVINGS:
        middle = (change.low + change.high) / 2
        (seen,) = evaluate(change.at([middle]))
        if seen not in (change.left, change.right):
            parts = replace(change, high=middle, right=seen), replace(change, low=middle, left=seen)
            return [*_bisected(evaluate, parts[0]), *_bisected(evaluate, parts[1])]
        change = replace(change, low=middle) if seen == change.left else replace(change, high=middle)
    return [(change.low + change.high) / 2]


def _law_of_cells(
    evaluate: _Counted, coordinates: Coordinates, cuts: dict[int, list[float]]
) -> dict[Any, Number]:
    axes = {i: list(_cells([0.0, *_merged(places), 1.0])) for i, places in cuts.items()}
    if math.prod(len(axis) for axis in axes.values()) > MAX_CELLS:
        raise _Refuted
    base = coordinates.random_points(1, 2)[0]
    law: dict[Any, Number] = {}
    models: dict[tuple[int, ...], _Race | Any] = {}
    for cell in product(*(range(len(axis)) for axis in axes.values())):
        point, weight = base.copy(), 1.0
        for (i, axis), at in zip(axes.items(), cell, strict=True):
            point[i] = axis[at][0]
            weight *= axis[at][1]
        models[cell] = _model(evaluate, point, coordinates.races)
        for result, share in _outcomes(models[cell]):
            law[result] = law.get(result, 0.0) + weight * share
    _test(evaluate, coordinates, cuts, models)
    return law


def _merged(places: list[float]) -> list[float]:
    return [place for i, place in enumerate(places) if not i or place - places[i - 1] > 2.0 ** (2 - HALVINGS)]


def _cells(ends: list[float]) -> Iterator[tuple[float, float]]:
    """Middle and width of each cell."""
    for low, high in pairwise(ends):
        yield (low + high) / 2, high - low


@dataclass(frozen=True)
class _Race:
    """What a race decides: for each of its coordinates its weight and what follows if it wins."""

    coordinates: tuple[int, ...]
    weights: tuple[float, ...]
    follows: tuple[Any, ...]


def _model(evaluate: _Counted, point: FloatArray, races: tuple[tuple[int, ...], ...]) -> Any:
    """Return the result at a point, or the race that decides it."""
    if not races:
        return _Result(evaluate(point[None])[0])
    first, *others = races
    rest = tuple(others)
    winners = np.repeat(point[None], len(first), axis=0)
    for row, coordinate in enumerate(first):
        winners[row, first] = FAR
        winners[row, coordinate] = 1.0
    follows = tuple(_model(evaluate, winner, rest) for winner in winners)
    if all(each == follows[0] for each in follows):
        return follows[0]
    weights = _weights(evaluate, winners, first, [evaluate(winner[None])[0] for winner in winners])
    return _Race(first, weights, follows)


@dataclass(frozen=True)
class _Result:
    value: Any


def _weights(
    evaluate: _Counted, winners: FloatArray, race: tuple[int, ...], results: list[Any]
) -> tuple[float, ...]:
    """Return weights of a race by bisecting the ratio at which the winner changes, pair by pair."""
    logs: dict[int, float] = {0: 0.0}
    left = set(range(1, len(race)))
    while left:
        pair = next(
            ((i, j) for i in logs for j in left if results[i] != results[j] and math.isfinite(logs[i])), None
        )
        if pair is None:
            raise _Refuted
        known, new = pair
        ratio = _log_ratio(evaluate, winners[known], race[new], results[known], results[new])
        if ratio == math.inf:  # the known one never wins against it: it has no weight itself
            logs = {new: 0.0, **dict.fromkeys(logs, -math.inf)}
        else:
            logs[new] = logs[known] + ratio
        left.discard(new)
    weights = [math.exp(logs[i]) for i in range(len(race))]
    return tuple(weight / sum(weights) for weight in weights)


def _log_ratio(evaluate: _Counted, point: FloatArray, coordinate: int, known: Any, new: Any) -> float:
    """Return the logarithm of the draw at which a new coordinate stops to win against one that is at 1."""
    low, high = -25.0, 25.0
    at_low, at_high = evaluate(_at(point, coordinate, [math.exp(low), math.exp(high)]))
    if at_low == known:
        return -math.inf
    if at_high == new:
        return math.inf
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        (seen,) = evaluate(_at(point, coordinate, [math.exp(middle)]))
        if seen not in (known, new):
            raise _Refuted
        low, high = (middle, high) if seen == new else (low, middle)
    return (low + high) / 2


def _outcomes(model: Any) -> Iterator[tuple[Any, float]]:
    if isinstance(model, _Race):
        for weight, follows in zip(model.weights, model.follows, strict=True):
            for result, share in _outcomes(follows):
                yield result, weight * share
    else:
        yield model.value, 1.0


def _foretold(model: Any, point: FloatArray) -> Any:
    while isinstance(model, _Race):
        times = [
            point[i] / w if w else math.inf for i, w in zip(model.coordinates, model.weights, strict=True)
        ]
        model = model.follows[times.index(min(times))]
    return model.value


def _test(
    evaluate: _Counted,
    coordinates: Coordinates,
    cuts: dict[int, list[float]],
    models: dict[tuple[int, ...], Any],
) -> None:
    """Hold what was found against the function at random points."""
    points = coordinates.random_points(TESTS, 3)
    for point, result in zip(points, evaluate(points), strict=True):
        cell = tuple(int(np.searchsorted(_merged(places), point[i])) for i, places in cuts.items())
        if _foretold(models[cell], point) != result:
            raise _Refuted


def _sampled(evaluate: _Counted, coordinates: Coordinates, samples: int) -> OpenedLaw:
    """Return the law of a sample, with a bound that fails with probability `SAMPLE_DOUBT` at most."""
    counts = Counter(evaluate(coordinates.random_points(samples, 4)))
    error = 0.5 * math.sqrt(len(counts) / samples) + math.sqrt(math.log(1 / SAMPLE_DOUBT) / (2 * samples))
    return OpenedLaw({result: count / samples for result, count in counts.items()}, error, is_sampled=True)
