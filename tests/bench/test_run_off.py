"""The run-off: near entrants are measured often enough, far ones leave, disturbance does not decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from workbench.lockstep.choice.decoders import Decoded, Decoder
from workbench.lockstep.choice.run_off import STAY_WITHIN, run_off

PROMPTS = [[number] for number in range(10)]
TIMES = {"best": 1.0, "near": 1.02, "far": 1.07, "slow": 1.5}


def entrants(calls: Counter[str], noise: float, seed: int = 0) -> dict[str, Decoder]:
    """Decoders of known speed, each call disturbed by an exponential share of its time."""
    draws = np.random.default_rng(seed)

    def entrant(name: str) -> Decoder:
        def decode(_: Sequence[int], max_new_tokens: int) -> Decoded:
            calls[name] += 1
            seconds = TIMES[name] * (1 + draws.exponential(noise)) * (max_new_tokens - 1)
            return Decoded(token_ids=(1,) * max_new_tokens, seconds=seconds, first_token_seconds=0.0)

        return decode

    return {name: entrant(name) for name in TIMES}


def test_who_is_far_behind_leaves_and_the_near_stay_to_the_end() -> None:
    calls: Counter[str] = Counter()
    ranked = run_off(entrants(calls, 0.0), PROMPTS, 32)
    assert [name for name, _ in ranked] == list(TIMES)
    rounds = {name: count // len(PROMPTS) for name, count in calls.items()}
    assert rounds == {"best": len(STAY_WITHIN) + 1, "near": len(STAY_WITHIN) + 1, "far": 2, "slow": 1}
    assert ranked[0][1] == 1.0


def test_one_alone_is_measured_once() -> None:
    calls: Counter[str] = Counter()
    run_off({"best": entrants(calls, 0.0)["best"]}, PROMPTS, 32)
    assert calls["best"] == len(PROMPTS)


def test_noise_costs_less_than_three_hundredths_nearly_always() -> None:
    """Each decode is disturbed by 5 % on average: in 4 of 5 choices, at least, the loss is below 3 %."""
    losses = [TIMES[run_off(entrants(Counter(), 0.05, seed), PROMPTS, 32)[0][0]] - 1.0 for seed in range(40)]
    assert np.mean(np.array(losses) < 0.03) >= 0.9
