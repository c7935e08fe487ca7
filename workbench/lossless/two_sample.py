"""Evidence that an engine with speculation draws from another law than the same engine without, law unknown.

Draws come in pairs, one of each. If the laws are equal, which of a pair came from which is a coin toss; a
predictor that learns both laws bets on it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from workbench.lossless.evidence import Alarm
from workbench.lossless.problem import TokenPath

STRENGTHS: Final = (2.0, 16.0, 128.0)
"""Draws that the pooled law counts for in a predictor."""


class _Pairs:
    """What both sides drew for one prompt."""

    def __init__(self) -> None:
        self.speculative: Counter[TokenPath] = Counter()
        self.plain: Counter[TokenPath] = Counter()
        self.count = 0

    def gain(self, one: TokenPath, other: TokenPath, strength: float) -> float:
        """Return the logarithm of the bet on the order of a pair, made before it is known."""
        if one == other:
            return 0.0
        kept, swapped = (
            math.log(self._guess(self.speculative, a, strength))
            + math.log(self._guess(self.plain, b, strength))
            for a, b in ((one, other), (other, one))
        )
        return kept - float(np.logaddexp(kept, swapped)) + math.log(2)

    def _guess(self, counts: Counter[TokenPath], path: TokenPath, strength: float) -> float:
        pooled = (self.speculative[path] + self.plain[path] + 0.5) / (2 * self.count + 1)
        return (counts[path] + strength * pooled) / (self.count + strength)

    def add(self, one: TokenPath, other: TokenPath) -> None:
        """Learn from a pair."""
        self.speculative[one] += 1
        self.plain[other] += 1
        self.count += 1


class TwoSampleEvidence:
    """Evidence of several prompts and groups, as `LawEvidence` has it, from pairs of draws.

    Attributes:
        num_draws: Pairs so far.
        log_value: Natural logarithm of the evidence so far.
        alarm: The first time that it reached `1 / alpha`, if it did.
    """

    def __init__(self, alpha: float) -> None:
        self._level = math.log(1 / alpha)
        self._pairs: dict[str, _Pairs] = {}
        self._groups: dict[str, list[float]] = {}
        self.num_draws = 0
        self.log_value = 0.0
        self.alarm: Alarm | None = None

    @property
    def num_cells(self) -> int:
        """Greatest number of different results of a prompt."""
        return max((len(each.speculative | each.plain) for each in self._pairs.values()), default=1)

    def extend(self, pairs: Sequence[tuple[str, TokenPath, TokenPath, str]]) -> Alarm | None:
        """Take pairs in their order, as prompt, tokens with and without speculation, and group."""
        for name, one, other, group in pairs:
            if self.alarm is not None:
                break
            known = self._pairs.setdefault(name, _Pairs())
            state = self._groups.setdefault(group, [0.0] * len(STRENGTHS))
            for i, strength in enumerate(STRENGTHS):
                state[i] += known.gain(one, other, strength)
            known.add(one, other)
            self.num_draws += 1
            values = [np.logaddexp.reduce(each) - math.log(len(STRENGTHS)) for each in self._groups.values()]
            self.log_value = float(np.logaddexp.reduce(values)) - math.log(len(values))
            if self.log_value >= self._level:
                self.alarm = Alarm(self.num_draws, self.log_value, None)
        return self.alarm
