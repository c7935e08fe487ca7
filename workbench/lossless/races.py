"""Rows of exponential draws that decide as a race does: the least `draw / weight` wins."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from workbench.lossless.draw import FloatArray

Evaluate = Callable[[FloatArray], list[Any]]
"""From points, `[points, coordinates]`, to the result of each."""
HALVINGS: Final = 40
FAR: Final = 1e12


class RefutedError(Exception):
    """A function does not do what was assumed of it."""


def at_points(base: FloatArray, coordinate: int, values: Sequence[float]) -> FloatArray:
    """Return a point with one coordinate at each of these values."""
    points = np.repeat(base[None], len(values), axis=0)
    points[:, coordinate] = values
    return points


@dataclass(frozen=True)
class RaceModel:
    """What a race decides: for each of its coordinates its weight and what follows if it wins."""

    coordinates: tuple[int, ...]
    weights: tuple[float, ...]
    follows: tuple[Any, ...]


def model_at(evaluate: Evaluate, point: FloatArray, races: tuple[tuple[int, ...], ...]) -> Any:
    """Return the result at a point, or the race that decides it."""
    if not races:
        return ResultModel(evaluate(point[None])[0])
    first, *others = races
    rest = tuple(others)
    winners = np.repeat(point[None], len(first), axis=0)
    for row, coordinate in enumerate(first):
        winners[row, first] = FAR
        winners[row, coordinate] = 1.0
    follows = tuple(model_at(evaluate, winner, rest) for winner in winners)
    if all(each == follows[0] for each in follows):
        return follows[0]
    weights = _weights(evaluate, winners, first, [evaluate(winner[None])[0] for winner in winners])
    return RaceModel(first, weights, follows)


@dataclass(frozen=True)
class ResultModel:
    """What a function returns, whatever the races."""

    value: Any


def _weights(
    evaluate: Evaluate, winners: FloatArray, race: tuple[int, ...], results: list[Any]
) -> tuple[float, ...]:
    """Return weights of a race by bisecting the ratio at which the winner changes, pair by pair."""
    logs: dict[int, float] = {0: 0.0}
    left = set(range(1, len(race)))
    while left:
        pair = next(
            ((i, j) for i in logs for j in left if results[i] != results[j] and math.isfinite(logs[i])), None
        )
        if pair is None:
            raise RefutedError
        known, new = pair
        ratio = _log_ratio(evaluate, winners[known], race[new], results[known], results[new])
        if ratio == math.inf:  # the known one never wins against it: it has no weight itself
            logs = {new: 0.0, **dict.fromkeys(logs, -math.inf)}
        else:
            logs[new] = logs[known] + ratio
        left.discard(new)
    weights = [math.exp(logs[i]) for i in range(len(race))]
    return tuple(weight / sum(weights) for weight in weights)


def _log_ratio(evaluate: Evaluate, point: FloatArray, coordinate: int, known: Any, new: Any) -> float:
    """Return the logarithm of the draw at which a new coordinate stops to win against one that is at 1."""
    low, high = -25.0, 25.0
    at_low, at_high = evaluate(at_points(point, coordinate, [math.exp(low), math.exp(high)]))
    if at_low == known:
        return -math.inf
    if at_high == new:
        return math.inf
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        (seen,) = evaluate(at_points(point, coordinate, [math.exp(middle)]))
        if seen not in (known, new):
            raise RefutedError
        low, high = (middle, high) if seen == new else (low, middle)
    return (low + high) / 2


def outcomes(model: Any) -> Iterator[tuple[Any, float]]:
    """Yield results with their probabilities, given all coordinates that are in no race."""
    if isinstance(model, RaceModel):
        for weight, follows in zip(model.weights, model.follows, strict=True):
            for result, share in outcomes(follows):
                yield result, weight * share
    else:
        yield model.value, 1.0


def foretold(model: Any, point: FloatArray) -> Any:
    """Return what a model says of a point."""
    while isinstance(model, RaceModel):
        times = [
            point[i] / w if w else math.inf for i, w in zip(model.coordinates, model.weights, strict=True)
        ]
        model = model.follows[times.index(min(times))]
    return model.value
