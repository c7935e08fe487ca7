"""Entrants that decode the same calibration prompts in turn: the least time per token wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workbench.lockstep.choice.decoders import Decoder

STAY_WITHIN: Final = (0.10, 0.05, 0.03)
"""After each round but the last: who is slower than the fastest by more than this share leaves."""


def run_off(
    entrants: Mapping[str, Decoder], prompts: Sequence[Sequence[int]], num_tokens: int
) -> list[tuple[str, float]]:
    """Return each entrant with its seconds per token, the inverse of mean tokens per second; fastest first.

    Of an entrant's rounds the fastest counts, prompt by prompt: disturbance only adds to one. Who stays has
    more chances of a quiet round, and is ranked before all who left earlier.
    """
    names = list(entrants)
    times = np.full((len(names), len(prompts)), np.inf)
    left_after = np.zeros(len(names))
    staying = np.arange(len(names))
    for turn in range(len(STAY_WITHIN) + 1):
        left_after[staying] = turn
        for number, prompt in enumerate(prompts):
            for entrant in np.roll(staying, turn + number):
                taken = entrants[names[entrant]](prompt, num_tokens).seconds_per_token
                times[entrant, number] = min(times[entrant, number], taken or np.inf)
        if len(staying) == 1:
            break
        if turn < len(STAY_WITHIN):
            staying = _near(staying, _mean(times), STAY_WITHIN[turn])
    seconds = _mean(times)
    return [(names[entrant], float(seconds[entrant])) for entrant in np.lexsort((seconds, -left_after))]


def _mean(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return seconds per token of each row as a measurement of a suite counts: mean tokens per second."""
    rates: NDArray[np.float64] = np.mean(1 / times, axis=1)
    seconds: NDArray[np.float64] = np.divide(1.0, rates, out=np.full(len(rates), np.inf), where=rates > 0)
    return seconds


def _near(staying: NDArray[np.int64], seconds: NDArray[np.float64], share: float) -> NDArray[np.int64]:
    """Return who is slower than the fastest by no more than a share."""
    near = seconds[staying] <= seconds[staying].min() * (1 + share)
    return np.compress(near, staying)
