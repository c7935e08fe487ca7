"""Evidence against a law, draw by draw: a bet that is worth 1 on average while the law holds.

A great value at any time, looked at as often as one likes, is then as unlikely as it is great (Ville).
The bet is a mixture: one part on each known mistake (its law against the target law), one part on what nobody
knows (Dirichlet predictors around the target law, of several strengths).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workbench.lossless.draw import FloatArray
from workbench.lossless.law import EmissionLaw, divergence
from workbench.lossless.problem import TokenPath

STRENGTHS: Final = (1.0, 8.0, 64.0, 512.0)
"""Draws that the target law counts for in a predictor."""
SMALLEST_RATIO: Final = 1e-300
IndexArray = NDArray[np.int64]


class PromptEvidence:
    """What was drawn for one prompt, against its target law.

    Attributes:
        cells: Every sequence of `depth + 1` tokens that the target law can emit, to its number.
        target: Probability of each.
    """

    def __init__(self, target: EmissionLaw, known: Mapping[str, EmissionLaw], names: Sequence[str]) -> None:
        paths = sorted(path for path, weight in target.items() if weight > 0)
        self.cells = {path: number for number, path in enumerate(paths)}
        self.target: FloatArray = np.array([float(target[path]) for path in paths])
        ratios = [self._ratio(known[name]) if name in known else np.ones(len(paths)) for name in names]
        self._known = np.log(np.array(ratios).reshape(len(names), len(paths)))
        self._counts: FloatArray = np.zeros(len(paths))

    def _ratio(self, law: EmissionLaw) -> FloatArray:
        given = np.array([float(law.get(path, 0)) for path in self.cells])
        ratio: FloatArray = np.maximum(given / self.target, SMALLEST_RATIO)
        return ratio

    def gains(self, drawn: IndexArray) -> FloatArray:
        """Return the logarithm of what each draw adds to each part of the bet, `[parts, draws]`."""
        before = self._counts[drawn] + _earlier(drawn)
        total = self._counts.sum() + np.arange(len(drawn))
        share = self.target[drawn]
        guesses = [np.log((before + each * share) / (total + each) / share) for each in STRENGTHS]
        np.add.at(self._counts, drawn, 1.0)
        return np.concatenate([self._known[:, drawn], np.array(guesses)])


def _earlier(drawn: IndexArray) -> FloatArray:
    """Return how often each entry came before in the same array."""
    order = np.argsort(drawn, kind="stable")
    ranked = drawn[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    runs = np.diff(np.r_[starts, len(ranked)])
    found = np.empty(len(drawn))
    found[order] = np.arange(len(ranked)) - np.repeat(starts, runs)
    return found


def parts_of_bet(num_known: int) -> FloatArray:
    """Return the logarithm of the weight of each part: half on known mistakes, half on the unknown."""
    half = 0.5 if num_known else 1.0
    unknown = np.full(len(STRENGTHS), half / len(STRENGTHS))
    weights: FloatArray = np.log(np.concatenate([np.full(num_known, half / max(num_known, 1)), unknown]))
    return weights


@dataclass(frozen=True)
class Alarm:
    """Where the evidence reached the level.

    Attributes:
        draw: Number of draws until then.
        log_value: Natural logarithm of the evidence.
        part: Which part of the bet holds most of it: a known mistake, or None for the unknown.
    """

    draw: int
    log_value: float
    part: str | None


class LawEvidence:
    """Evidence of several prompts, multiplied, and of groups that depend on one another, averaged.

    Attributes:
        num_draws: Draws so far.
        log_value: Natural logarithm of the evidence so far, infinite after what the target law cannot emit.
        alarm: The first time that it reached `1 / alpha`, if it did.
    """

    def __init__(self, prompts: Mapping[str, PromptEvidence], names: Sequence[str], alpha: float) -> None:
        self._prompts = prompts
        self._names = tuple(names)
        self._level = math.log(1 / alpha)
        self._prior = parts_of_bet(len(names))
        self._groups: dict[str, FloatArray] = {}
        self.num_draws = 0
        self.log_value = 0.0
        self.alarm: Alarm | None = None

    def extend(self, drawn: Sequence[tuple[str, TokenPath, str]]) -> Alarm | None:
        """Take draws in their order, as prompt, tokens and group (all in one group are independent).

        Returns:
            The alarm, if there is one by now.
        """
        if self.alarm is not None or not drawn:
            return self.alarm
        possible = next(
            (i for i, (name, path, _) in enumerate(drawn) if path not in self._prompts[name].cells), None
        )
        self._add(drawn[:possible])
        if possible is not None and self.alarm is None:
            self.num_draws += 1
            self.log_value = math.inf
            self.alarm = Alarm(self.num_draws, math.inf, None)
        return self.alarm

    def _add(self, drawn: Sequence[tuple[str, TokenPath, str]]) -> None:
        if not drawn:
            return
        gains = np.zeros((len(self._prior), len(drawn)))
        for name, prompt in self._prompts.items():
            at = [i for i, draw in enumerate(drawn) if draw[0] == name]
            if at:
                gains[:, at] = prompt.gains(np.array([prompt.cells[drawn[i][1]] for i in at]))
        values, states = self._values(gains, [draw[2] for draw in drawn])
        first = np.flatnonzero(values >= self._level)
        if len(first):
            at_draw = int(first[0])
            self.alarm = Alarm(
                self.num_draws + at_draw + 1, float(values[at_draw]), self._best(states[:, at_draw])
            )
        self.num_draws += len(drawn)
        self.log_value = float(values[-1] if self.alarm is None else self.alarm.log_value)

    def _values(self, gains: FloatArray, groups: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Return the logarithm of the evidence after each draw, and the parts of the group that drew."""
        states = np.zeros_like(gains)
        for group in dict.fromkeys(groups):
            self._groups.setdefault(group, np.zeros(len(self._prior)))
        each = np.empty((len(self._groups), gains.shape[1]))
        for row, (group, state) in enumerate(self._groups.items()):
            own = np.array([name == group for name in groups])
            path = state[:, None] + np.cumsum(gains * own, axis=1)
            each[row] = np.logaddexp.reduce(path + self._prior[:, None], axis=0)
            states[:, own] = path[:, own]
            self._groups[group] = path[:, -1]
        return np.logaddexp.reduce(each, axis=0) - math.log(len(self._groups)), states

    def _best(self, state: FloatArray) -> str | None:
        best = int(np.argmax(state + self._prior))
        return self._names[best] if best < len(self._names) else None


def draws_for_known(law: EmissionLaw, target: EmissionLaw, num_known: int, alpha: float) -> float:
    """Return the draws that the bet needs on average against a known mistake, infinite if none suffice."""
    nats = divergence(law, target)
    return math.inf if nats <= 0 else max(1.0, math.log(2 * max(num_known, 1) / alpha) / nats)


def smallest_visible(num_cells: int, num_draws: int, alpha: float) -> float:
    """Return the total variation that so many draws would have shown whatever the mistake is, at most 1.

    From `n KL = ln(2 s / alpha) + (k - 1) / 2 ln n`, with s strengths, and `KL >= 2 TV^2`.
    """
    if num_draws < 1:
        return 1.0
    needed = math.log(2 * len(STRENGTHS) / alpha) + (num_cells - 1) / 2 * math.log(num_draws)
    return min(1.0, math.sqrt(needed / (2 * num_draws)))
