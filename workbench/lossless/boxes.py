"""Draws that are combined: their region as boxes, cut until what is undecided hardly weighs.

What is still undecided then is represented by points drawn inside those boxes, so that the error is that of a
sample of the undecided boxes alone; it is stated as a bound of five standard errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workbench.lossless.draw import FloatArray
from workbench.lossless.expressions import Uncertain

MAX_UNDECIDED: Final = 12_000
"""Boxes that may be undecided at once; beyond it, points do better."""
POINTS_PER_BOX: Final = 4
STANDARD_ERRORS: Final = 5.0
LEAST_UNDECIDED: Final = 1e-9
"""Share that may stay undecided."""
MAX_ROUNDS: Final = 64


@dataclass(frozen=True)
class Boxes:
    """A region of the cube of draws.

    Attributes:
        columns: Number of the draw of each axis.
        low: Least values, float64 `[boxes, axes]`.
        high: Greatest values.
        weight: Probability of each box, of which only a share may belong to the region.
    """

    columns: tuple[int, ...]
    low: FloatArray
    high: FloatArray
    weight: FloatArray

    @classmethod
    def one(cls, columns: tuple[int, ...], low: list[float], high: list[float]) -> Boxes:
        """Return a single box."""
        return cls(columns, np.array([low]), np.array([high]), np.ones(1))

    @property
    def total(self) -> float:
        """Probability of the region."""
        return float(self.weight.sum())

    def picked(self, rows: NDArray[np.bool_]) -> Boxes:
        """Return some of the boxes."""
        return Boxes(self.columns, self.low[rows], self.high[rows], self.weight[rows])

    @property
    def are_points(self) -> NDArray[np.bool_]:
        """Which of the boxes are single points, bool `[boxes]`."""
        return np.asarray((self.low == self.high).all(axis=1))

    def as_points(self) -> Boxes:
        """Return points drawn inside the boxes; always the same ones."""
        chance = np.random.Generator(np.random.Philox(len(self.weight)))
        low, high, weight = (
            np.repeat(each, POINTS_PER_BOX, axis=0) for each in (self.low, self.high, self.weight)
        )
        points = low + (high - low) * chance.uniform(size=low.shape)
        return Boxes(self.columns, points, points, weight / POINTS_PER_BOX)

    def halved(self) -> Boxes:
        """Return every box cut in two along its longest axis."""
        axis = (self.high - self.low).argmax(axis=1)
        rows = np.arange(len(axis))
        middle = (self.low[rows, axis] + self.high[rows, axis]) / 2
        upper_low, lower_high = self.low.copy(), self.high.copy()
        upper_low[rows, axis] = lower_high[rows, axis] = middle
        return Boxes(
            self.columns,
            np.concatenate([self.low, upper_low]),
            np.concatenate([lower_high, self.high]),
            np.concatenate([self.weight, self.weight]) / 2,
        )


def merged(columns: tuple[int, ...], parts: list[Boxes]) -> Boxes:
    """Return boxes of the same axes as one list."""
    return Boxes(
        columns,
        np.concatenate([part.low for part in parts]),
        np.concatenate([part.high for part in parts]),
        np.concatenate([part.weight for part in parts]),
    )


def divided(boxes: Boxes, difference: Uncertain) -> tuple[Boxes, Boxes, float]:
    """Return where a value is negative, where it is not, and a bound on the error of their shares."""
    where = {number: column for column, number in enumerate(boxes.columns)}
    negative: list[Boxes] = []
    rest: list[Boxes] = []
    left = boxes
    for _ in range(MAX_ROUNDS):
        least, most = difference.bounds(left.low, left.high, where)
        negative.append(left.picked(most <= 0))
        rest.append(left.picked((least >= 0) & (most > 0)))
        left = left.picked((least < 0) & (most > 0))
        if left.total <= LEAST_UNDECIDED * boxes.total or len(left.weight) > MAX_UNDECIDED:
            break
        left = left.halved()
    if len(left.weight):
        points = left.as_points()
        value, _ = difference.bounds(points.low, points.high, where)
        negative.append(points.picked(value < 0))
        rest.append(points.picked(value >= 0))
    sides = merged(boxes.columns, negative), merged(boxes.columns, rest)
    return *sides, _error(sides, boxes.total)


def _error(sides: tuple[Boxes, Boxes], total: float) -> float:
    """Return the bound that points give: each is off by half its weight, as a standard error."""
    squares = sum(float((side.weight[side.are_points] ** 2).sum()) for side in sides)
    return STANDARD_ERRORS * 0.5 * squares**0.5 / total if total else 0.0
