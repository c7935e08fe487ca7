"""`--eager auto`: which operators are fastest as plain torch on this machine, by measurement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tracing.settings import FUSED_OPERATORS
from workbench.lockstep.choice.decoders import Decoder

OPERATORS: Final = tuple(name for name in FUSED_OPERATORS if name != "scatter")
"""What can be switched with a contiguous cache; `scatter` belongs to a paged one."""
ROUNDS: Final = 3
TOKENS: Final = 24
MARGIN: Final = 1.03
"""Another choice must be faster by this factor than all fused, and teacher-only than what is chosen."""


@dataclass(frozen=True, slots=True)
class Kernels:
    """The chosen operators and why.

    Attributes:
        eager: Operators to run as plain torch: both ways of decoding together are fastest with these.
        token_seconds: Eager operators to seconds per token, greedy and speculative.
    """

    eager: frozenset[str]
    token_seconds: dict[frozenset[str], tuple[float, float]]

    @property
    def greedy_eager(self) -> frozenset[str]:
        """The same for teacher-only decoding alone: a baseline is the fastest there is, or `eager`."""
        fastest = min(self.token_seconds, key=lambda eager: self.token_seconds[eager][0])
        gain = self.token_seconds[self.eager][0] / self.token_seconds[fastest][0]
        return fastest if gain > MARGIN else self.eager

    def as_json(self) -> dict[str, Any]:
        """Return plain data for the manifest."""
        return {
            "eager": sorted(self.eager),
            "greedy_eager": sorted(self.greedy_eager),
            "token_ms": {
                eager_name(eager): {"greedy": 1e3 * greedy, "speculative": 1e3 * speculative}
                for eager, (greedy, speculative) in self.token_seconds.items()
            },
        }


def eager_name(eager: frozenset[str]) -> str:
    """Return a set of operators in words."""
    if not eager:
        return "all fused"
    return "all eager" if eager >= set(OPERATORS) else f"eager: {', '.join(sorted(eager))}"


def options() -> list[frozenset[str]]:
    """Return what is tried: all fused, all eager, and all eager but one."""
    everything = frozenset(OPERATORS)
    return [frozenset(), everything, *(everything - {one} for one in OPERATORS)]


def choose_kernels(
    decoders: Callable[[frozenset[str]], tuple[Decoder, Decoder]], prompt: Sequence[int]
) -> Kernels:
    """Measure every option in turn and take the one whose two sides, greedy and speculative, are fastest."""
    tried = options()
    made = [decoders(eager) for eager in tried]
    seconds = np.zeros((len(tried), ROUNDS + 1, 2))
    for turn in range(ROUNDS + 1):
        for number in np.roll(np.arange(len(tried)), turn):
            for side in (0, 1):
                decoded = made[number][side](prompt, TOKENS)
                seconds[number, turn, side] = decoded.seconds_per_token or decoded.seconds
    best = seconds[:, 1:].min(axis=1)  # the first round warms up; what disturbs only ever adds
    total = best[:, 0] / best[0, 0] + best[:, 1] / best[0, 1]
    winner = int(np.argmin(total))
    if total[winner] * MARGIN > total[0]:
        winner = 0
    times = {eager: (float(best[i, 0]), float(best[i, 1])) for i, eager in enumerate(tried)}
    return Kernels(tried[winner], times)
