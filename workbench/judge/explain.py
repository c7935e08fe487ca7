"""Which standard mistake gives a wrong value: its prediction fits where the truth does not.

A hypothesis is a clause and what it predicts. Of those that fit everywhere within the allowances of the
truth the closest one is named; where none fits, nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from workbench.judge.allowance import Floats, largest, root_mean_square
from workbench.judge.evidence import Array

CLEARLY: Final = 4.0
"""The truth has to be this much farther away than what is named, so that a wide allowance names nothing."""
FITTED: Final = 20.0
"""The same for a prediction with as many free numbers as rows, which comes closer to anything."""

NARROW: Final[tuple[tuple[str, int], ...]] = (("bfloat16", 16), ("float16", 13))
"""Half precisions, and how many of the last bits of a float32 are zero in them; the coarser one first."""
MIN_VALUES: Final = 8
"""Values from which on it says something that all of them are in a half precision."""


class Hypothesis(NamedTuple):
    """What was done instead.

    Attributes:
        clause: In words.
        values: What this gives where the path is wrong, `[R, W]`.
        everywhere: What it gives in all rows, in the form of the quantity; None where that is not known.
        clearly: The truth has to be this much farther away than the prediction.
    """

    clause: str
    values: Floats
    everywhere: Array | None = None
    clearly: float = CLEARLY


SAME: Final = 1e-5
"""Share of a row's size below which two computations of it are the same."""


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


def closest(wrong: Wrong, hypotheses: Iterable[Hypothesis]) -> Hypothesis | None:
    """Return the hypothesis that fits best, None where none does; a fitted one where no other does."""
    named, best = None, (True, np.inf)
    for hypothesis in hypotheses:
        if hypothesis.values.shape != wrong.value.shape:
            continue
        error = hypothesis.clearly > CLEARLY, _fit(wrong, hypothesis.values, hypothesis.clearly)
        if error < best and np.isfinite(error[1]):
            named, best = hypothesis, error
    return named


def first_changed(predicted: Floats, truth: Floats, value: Floats) -> int | None:
    """Return the first row, of `[R, W]`, that a hypothesis changes and in which it is nearer to the value."""
    with np.errstate(invalid="ignore"):
        differs = ~(largest(predicted - truth) <= SAME * np.maximum(largest(truth), SAME))
        differs &= ~(root_mean_square(value - truth) <= root_mean_square(value - predicted))
    rows = np.flatnonzero(differs)
    return int(rows[0]) if rows.size else None


def _fit(wrong: Wrong, predicted: Floats, clearly: float) -> float:
    """Return how far a prediction is off, in shares of the allowances; infinity where it does not fit."""
    with np.errstate(invalid="ignore", over="ignore"):
        error = wrong.value - predicted
        inside = (largest(error) <= wrong.allowance) & (root_mean_square(error) <= wrong.allowance_rms)
        if np.count_nonzero(~inside) > wrong.spared or not inside.any():
            return np.inf
        share = float(np.mean(largest(error)[inside] / wrong.allowance[inside]))
        from_truth = largest(wrong.value - wrong.truth)[inside] / wrong.allowance[inside]
    far = float(np.max(np.where(np.isnan(from_truth), np.inf, from_truth)))
    return share if far >= clearly * max(share, np.finfo(np.float64).tiny) else np.inf


def rounded_to(values: Array, dropped: int) -> Floats:
    """Return float32 values rounded to the nearest with `dropped` fewer bits."""
    bits = np.asarray(values, dtype=np.float32).view(np.uint32)
    half = np.uint32((1 << (dropped - 1)) - 1) + ((bits >> np.uint32(dropped)) & np.uint32(1))
    kept = (bits + half) & ~np.uint32((1 << dropped) - 1)
    made: Floats = kept.view(np.float32).astype(np.float64)
    return made


def narrowed(wrong: Wrong) -> Iterator[Hypothesis]:
    """Yield the path's own values where all are in a half precision, and the truth is next to them."""
    if np.unique(wrong.value).size < MIN_VALUES or not np.isfinite(wrong.value).all():
        return
    for name, dropped in NARROW:
        unit = 2.0 ** (dropped - 23) * np.maximum(np.abs(wrong.value), 2.0**-14)
        near = np.abs(wrong.truth - wrong.value) <= unit
        if near.all() and np.array_equal(rounded_to(wrong.value, dropped), wrong.value):
            yield Hypothesis(f"its value rounded to {name}", wrong.value)
            return
