"""Which standard mistake gives a wrong value: its prediction fits where the truth does not.

A hypothesis is a clause and what it predicts. Of those that fit everywhere within the allowances of the
truth the closest one is named; where none fits, nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from workbench.judge.allowance import Floats, largest, root_mean_square

Hypothesis = tuple[str, Floats]
"""What was done instead, as a clause, and the values that this gives."""
CLEARLY: Final = 4.0
"""The truth has to be this much farther away than what is named, so that a wide allowance names nothing."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """Values that are wrong somewhere, as rows; arrays `[R, W]` unless said otherwise.

    Attributes:
        value, truth: The path's and the true ones; NaN in `truth` where it is not known.
        allowance, allowance_rms: Of each row, `[R]`.
        spared: Rows that a hypothesis need not fit.
    """

    value: Floats
    truth: Floats
    allowance: Floats
    allowance_rms: Floats
    spared: int = 0


def closest(wrong: Wrong, hypotheses: Iterable[Hypothesis]) -> str:
    """Return the clause of the hypothesis that fits best, or an empty string."""
    named, best = "", np.inf
    for clause, predicted in hypotheses:
        if predicted.shape != wrong.value.shape:
            continue
        error = _fit(wrong, predicted)
        if error < best:
            named, best = clause, error
    return named


def _fit(wrong: Wrong, predicted: Floats) -> float:
    """Return how far a prediction is off, in shares of the allowances; infinity where it does not fit."""
    with np.errstate(invalid="ignore", over="ignore"):
        error = wrong.value - predicted
        inside = (largest(error) <= wrong.allowance) & (root_mean_square(error) <= wrong.allowance_rms)
        if np.count_nonzero(~inside) > wrong.spared or not inside.any():
            return np.inf
        share = float(np.mean(largest(error)[inside] / wrong.allowance[inside]))
        from_truth = largest(wrong.value - wrong.truth)[inside] / wrong.allowance[inside]
    far = float(np.max(np.where(np.isnan(from_truth), np.inf, from_truth)))
    return share if far >= CLEARLY * max(share, np.finfo(np.float64).tiny) else np.inf
