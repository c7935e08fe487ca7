"""Functions of plain numbers: their law by finding, coordinate by coordinate, where the result changes.

For code whose draws cannot be followed (a compiled kernel, an array of floats). Three assumptions are made
and tested at points drawn at random: along each uniform coordinate the result changes at a few fixed places;
a row of exponential draws decides as a race does (the least `draw / weight` wins); nothing else is random.
Where a test fails the law is sampled instead, and the error is that of the sample.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from typing import Any, Final

import numpy as np

from workbench.lossless.draw import FloatArray
from workbench.lossless.forks import NotRepeatableError
from workbench.lossless.law import Number
from workbench.lossless.races import HALVINGS, Evaluate, RefutedError, at_points, foretold, model_at, outcomes

BASES: Final = 12
GRID: Final = 17
MAX_CUTS: Final = 12
MAX_CELLS: Final = 1024
MAX_ROUNDS: Final = 6
POINTS_A_CELL: Final = 2
TESTS: Final = 96
REPEATED: Final = 32
"""Points at which the function is called twice."""
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


def opened(evaluate: Evaluate, coordinates: Coordinates, samples: int) -> OpenedLaw:
    """Return the law of a function; `samples` is the size of a sample if it has to come to that.

    Raises:
        NotRepeatableError: It returns other results for the same points.
    """
    counted = _Counted(evaluate)
    again = coordinates.random_points(REPEATED, 5)
    if counted(again) != counted(again):
        raise NotRepeatableError(
            "the verifier is not repeatable: two results at the same draws; it has a source of chance, or "
            "memory, that was not given to it here"
        )
    try:
        cuts = _all_cuts(counted, coordinates)
        law = _law_of_cells(counted, coordinates, cuts)
    except RefutedError:
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
        return at_points(self.base, self.coordinate, values)


class _Counted:
    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate = evaluate
        self.calls = 0

    def __call__(self, points: FloatArray) -> list[Any]:
        self.calls += len(points)
        return self._evaluate(points) if len(points) else []


def _all_cuts(evaluate: _Counted, coordinates: Coordinates) -> dict[int, list[float]]:
    """Return where the result changes along each uniform coordinate.

    Lines are drawn through random points, then through every cell that the places found so far make, until no
    cell shows another place: what matters only after others have fallen in some way is found so.
    """
    cuts: dict[int, list[float]] = {i: [] for i in coordinates.uniforms}
    bases = coordinates.random_points(BASES, 1)
    for number in range(MAX_ROUNDS):
        before = sum(map(len, cuts.values()))
        cuts = {i: sorted(known + _cuts_along(evaluate, bases, i, known)) for i, known in cuts.items()}
        if number and sum(map(len, cuts.values())) == before:
            break
        bases = _cell_points(coordinates, cuts, number)
    return cuts


def _cell_points(coordinates: Coordinates, cuts: dict[int, list[float]], seed: int) -> FloatArray:
    """Return points in every cell, with race draws at random."""
    axes = [[middle for middle, _ in _cells([0.0, *_merged(places), 1.0])] for places in cuts.values()]
    cells = list(product(*axes))
    if len(cells) > MAX_CELLS:
        raise RefutedError
    points = coordinates.random_points(len(cells) * POINTS_A_CELL, 10 + seed)
    points[:, list(cuts)] = np.repeat(np.array(cells), POINTS_A_CELL, axis=0)
    return points


def _cuts_along(
    evaluate: _Counted, bases: FloatArray, coordinate: int, known: Sequence[float]
) -> list[float]:
    """Return places on lines along a coordinate through some points that are not known yet."""
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
            if left != right and not _is_explained(evaluate, change, [*known, *cuts]):
                cuts += _bisected(evaluate, change)
            if len(known) + len(cuts) > MAX_CUTS:
                raise RefutedError
    return cuts


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
        raise RefutedError
    base = coordinates.random_points(1, 2)[0]
    law: dict[Any, Number] = {}
    models: dict[tuple[int, ...], Any] = {}
    for cell in product(*(range(len(axis)) for axis in axes.values())):
        point, weight = base.copy(), 1.0
        for (i, axis), at in zip(axes.items(), cell, strict=True):
            point[i] = axis[at][0]
            weight *= axis[at][1]
        models[cell] = model_at(evaluate, point, coordinates.races)
        for result, share in outcomes(models[cell]):
            law[result] = law.get(result, 0.0) + weight * share
    _test(evaluate, coordinates, cuts, models)
    return law


def _merged(places: list[float]) -> list[float]:
    return [place for i, place in enumerate(places) if not i or place - places[i - 1] > 2.0 ** (2 - HALVINGS)]


def _cells(ends: list[float]) -> Iterator[tuple[float, float]]:
    """Middle and width of each cell."""
    for low, high in pairwise(ends):
        yield (low + high) / 2, high - low


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
        if foretold(models[cell], point) != result:
            raise RefutedError


def _sampled(evaluate: _Counted, coordinates: Coordinates, samples: int) -> OpenedLaw:
    """Return the law of a sample, with a bound that fails with probability `SAMPLE_DOUBT` at most."""
    counts = Counter(evaluate(coordinates.random_points(samples, 4)))
    error = 0.5 * math.sqrt(len(counts) / samples) + math.sqrt(math.log(1 / SAMPLE_DOUBT) / (2 * samples))
    return OpenedLaw({result: count / samples for result, count in counts.items()}, error, is_sampled=True)
