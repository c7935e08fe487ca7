"""Looks along an axis for places where acceptance is a small share of what it is everywhere else.

A place is reported when chance cannot explain it: were its rate the given share of the rest's, so few passes
would occur with a probability below the error rate, by Chernoff's bound `exp(-n * KL(rate, share * rest))`,
divided among all places that are tried.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from invariants.bands import NUM_DEPTHS, Axis, Bands, Place
from invariants.thresholds import Thresholds

Floats = NDArray[np.float64]
UNORDERED: Final = ("prompt", "batch_row")
"""Axes whose values are judged one by one; along all others, and prompts as well, a band is looked for."""
MAX_WINDOW_BINS: Final = 256
"""Pieces of an axis of which every band is tried."""
NEARLY: Final = 0.8
"""An axis that explains this share of what the best one explains is preferred if it comes earlier."""


@dataclass(frozen=True, slots=True)
class Collapse:
    """One place where acceptance is next to nothing.

    Attributes:
        axis: Name of the axis, a field of `Bands`.
        low, high: First and last value of the place on it.
        depth: Depth that is not passed; the last one stands for all below.
        tried, passed: Paths that could go on to that depth, and did.
        rest: Rate at which they do elsewhere.
        first: The first step there.
        score: Minus the logarithm of the probability that chance does this.
    """

    axis: str
    low: int
    high: int
    depth: int
    tried: int
    passed: int
    rest: float
    first: Place
    score: float


def surprise(tried: Floats, passed: Floats, rate: Floats) -> Floats:
    """Return `n * KL(passed / tried, rate)`; 0 where the share that passed is not below the rate."""
    share = np.divide(passed, tried, out=np.zeros_like(tried), where=tried > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        hit = np.where(share > 0, share * np.log(share / rate), 0.0)
        miss = np.where(share < 1, (1 - share) * np.log((1 - share) / (1 - rate)), 0.0)
    return np.where((share < rate) & (tried > 0), tried * (hit + miss), 0.0)


def explained(bands: Bands, thresholds: Thresholds) -> tuple[Collapse, ...]:
    """Return the collapses along the axis that explains most; none where acceptance is even enough."""
    found: list[tuple[Collapse, ...]] = []
    for name in Bands.__dataclass_fields__:
        axis: Axis = getattr(bands, name)
        if name in UNORDERED:
            found.append(single(name, axis, thresholds))
    for name in Bands.__dataclass_fields__:
        axis = getattr(bands, name)
        if name != "batch_row":
            found.append(_band(name, axis, thresholds))
    scores = [sum(each.score for each in collapses) for collapses in found]
    best = max(scores)
    return next(each for each, score in zip(found, scores, strict=True) if score >= NEARLY * best)


def _table(axis: Axis) -> tuple[list[int], Floats]:
    """Return the numbers of an axis' bins, ascending, and their counts, float64 `[B, NUM_DEPTHS, 2]`."""
    numbers = sorted(axis.counts)
    if not numbers:
        return [], np.zeros((0, NUM_DEPTHS, 2))
    return numbers, np.array([axis.counts[number] for number in numbers], np.float64).reshape(
        -1, NUM_DEPTHS, 2
    )


def single(name: str, axis: Axis, thresholds: Thresholds) -> tuple[Collapse, ...]:
    """Return the bins that collapsed, each by itself; the others are the rest."""
    numbers, counts = _table(axis)
    if len(numbers) < 2:
        return ()
    needed = math.log(len(numbers) * NUM_DEPTHS / thresholds.error_rate)
    by_depth = (
        tuple(
            _collapse(name, axis, [numbers[place]], depth, (counts[place, depth], rest, score))
            for place, rest, score in _low(counts[:, depth], needed, thresholds)
        )
        for depth in range(NUM_DEPTHS)
    )
    return max(by_depth, key=lambda collapses: sum(each.score for each in collapses))


def _low(counts: Floats, needed: float, thresholds: Thresholds) -> list[tuple[int, float, float]]:
    """Split bins into low and high where that is most surprising, and judge the low ones one by one.

    Args:
        counts: Tries and passes of each bin at one depth, `[B, 2]`.
        needed: What chance does not surpass.
        thresholds: Limits.

    Returns:
        The place of each bin that collapsed, the rate of the rest, and how surprising that is.
    """
    tried, passed = counts[:, 0], counts[:, 1]
    order = np.argsort(np.divide(passed, tried, out=np.ones_like(tried), where=tried > 0), kind="stable")
    low_tried, low_passed = np.cumsum(tried[order])[:-1], np.cumsum(passed[order])[:-1]
    rest_tried, rest_passed = tried.sum() - low_tried, passed.sum() - low_passed
    rest = np.divide(rest_passed, rest_tried, out=np.zeros_like(rest_tried), where=rest_tried > 0)
    enough = (rest_tried >= thresholds.min_steps) & (rest >= thresholds.min_rate_before_cliff)
    split = np.where(enough, surprise(low_tried, low_passed, thresholds.max_share_of_rest * rest), 0.0)
    best = int(split.argmax())
    if not split[best] > 0:
        return []
    own = surprise(tried, passed, np.full_like(tried, thresholds.max_share_of_rest * rest[best]))
    usable = (own > needed) & (tried >= thresholds.min_steps)
    low = order[: best + 1]
    return [(place, float(rest[best]), float(own[place])) for place in sorted(low[usable[low]].tolist())]


def _band(name: str, axis: Axis, thresholds: Thresholds) -> tuple[Collapse, ...]:
    """Return the band of neighbouring bins that is most surprising, if chance does not explain it."""
    numbers, counts = _table(axis)
    edges = _edges(counts[:, 0, 0], max(thresholds.min_steps // 4, 1))
    if len(edges) < 3:
        return ()
    needed = math.log(len(edges) * (len(edges) - 1) / 2 * NUM_DEPTHS / thresholds.error_rate)
    sums = np.concatenate([np.zeros((1, NUM_DEPTHS, 2)), np.cumsum(counts, axis=0)])[edges]
    inside = sums[None] - sums[:, None]  # [start, stop, NUM_DEPTHS, 2]
    outside = sums[-1] - inside
    rest = np.divide(
        outside[..., 1], outside[..., 0], out=np.zeros_like(outside[..., 0]), where=outside[..., 0] > 0
    )
    usable = (inside[..., 0] >= thresholds.min_steps) & (outside[..., 0] >= thresholds.min_steps)
    usable &= rest >= thresholds.min_rate_before_cliff
    scores = surprise(inside[..., 0], inside[..., 1], thresholds.max_share_of_rest * rest)
    scores = np.where(usable, scores, 0.0)
    start, stop, depth = (int(each) for each in np.unravel_index(int(scores.argmax()), scores.shape))
    here = start, stop, depth
    if not scores[here] > needed:
        return ()
    bins, found = numbers[edges[start] : edges[stop]], (inside[here], float(rest[here]), float(scores[here]))
    return (_collapse(name, axis, bins, depth, found),)


def _edges(tried: Floats, at_least: int) -> list[int]:
    """Return where bins are cut into pieces of like weight, `[E]`: few, for chance to have few places.

    Args:
        tried: Tries of each bin, `[B]`.
        at_least: Tries of a piece.
    """
    total = tried.sum()
    num_pieces = min(MAX_WINDOW_BINS, total // at_least)
    piece = (np.cumsum(tried) - tried) * num_pieces // max(total, 1)
    return [0, *(np.flatnonzero(np.diff(piece)) + 1).tolist(), len(tried)]


def _collapse(
    name: str, axis: Axis, bins: list[int], depth: int, found: tuple[Floats, float, float]
) -> Collapse:
    """Return the collapse of neighbouring bins; `found` holds counts `[2]`, the rest's rate, the score."""
    counts, rest, score = found
    return Collapse(
        axis=name,
        low=bins[0] * axis.width,
        high=(bins[-1] + 1) * axis.width - 1,
        depth=depth + 1,
        tried=int(counts[0]),
        passed=int(counts[1]),
        rest=rest,
        first=min(axis.first[number] for number in bins)[1],
        score=score,
    )
