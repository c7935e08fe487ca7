"""Entrants that decode the same calibration prompts in turn: the least time per token wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from workbench.lockstep.choice.decoders import Decoder

ROUNDS: Final = 2


def run_off(
    entrants: Mapping[str, Decoder], prompts: Sequence[Sequence[int]], num_tokens: int
) -> list[tuple[str, float]]:
    """Return each entrant with its seconds per token, fastest first.

    Of the rounds the fastest counts: disturbance only ever adds to a time.
    """
    names = list(entrants)
    times = np.zeros((len(names), ROUNDS, len(prompts)))
    for turn in range(ROUNDS):
        for number, prompt in enumerate(prompts):
            for entrant in np.roll(np.arange(len(names)), turn + number):
                decoded = entrants[names[entrant]](prompt, num_tokens)
                times[entrant, turn, number] = decoded.seconds_per_token or np.inf
    seconds = times.min(axis=1).mean(axis=1)
    return [(names[entrant], float(seconds[entrant])) for entrant in np.argsort(seconds, kind="stable")]
