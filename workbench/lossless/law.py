"""Laws of emitted tokens: completion to one length, distance, where they differ, how hard that is to see."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from workbench.lossless.problem import Problem, TokenPath, law_after

Number = Fraction | float
EmissionLaw = dict[TokenPath, Number]
"""Tokens emitted by one step to their probability."""


def completed(law: Mapping[TokenPath, Number], problem: Problem) -> EmissionLaw:
    """Return the law of the first `depth + 1` tokens, when the target law goes on after what was emitted."""
    done: EmissionLaw = {}
    for path, weight in law.items():
        for longer, share in _grown(path, problem):
            done[longer] = done.get(longer, 0) + weight * share
    return done


def _grown(path: TokenPath, problem: Problem) -> Iterator[tuple[TokenPath, Fraction]]:
    if len(path) > problem.depth:
        yield path, Fraction(1)
        return
    for token, share in enumerate(law_after(problem.target, path, problem)):
        if share:
            for longer, rest in _grown((*path, token), problem):
                yield longer, share * rest


def grown_at_random(path: TokenPath, problem: Problem, chance: np.random.Generator) -> TokenPath:
    """Return what was emitted and target draws after it, `depth + 1` tokens."""
    while len(path) <= problem.depth:
        law = law_after(problem.target, path, problem)
        path = (*path, int(chance.choice(len(law), p=[float(each) for each in law])))
    return path


def target_law(problem: Problem) -> EmissionLaw:
    """Return the law that a lossless verifier's tokens have, to `depth + 1`."""
    return completed({(): Fraction(1)}, problem)


def total_variation(law: Mapping[TokenPath, Number], other: Mapping[TokenPath, Number]) -> Number:
    """Return half the sum of absolute differences; of two rational laws a fraction."""
    total: Number = Fraction(0)
    for path in law.keys() | other.keys():
        total = total + _gap(law.get(path, 0), other.get(path, 0))
    return total / 2


def _gap(one: Number, other: Number) -> Number:
    return one - other if one > other else other - one


def divergence(law: Mapping[TokenPath, Number], other: Mapping[TokenPath, Number]) -> float:
    """Return KL(law, other) in nats, infinite where `law` has mass and `other` none."""
    total = 0.0
    for path, weight in law.items():
        if weight > 0:
            if not other.get(path, 0):
                return math.inf
            total += float(weight) * math.log(float(weight / other[path]))
    return max(total, 0.0)


def draws_needed(nats: float, alpha: float) -> float | None:
    """Return the draws that a sequential test for this very law needs on average; None if it never ends."""
    return None if nats <= 0 else max(1.0, math.log(1 / alpha) / nats)


@dataclass(frozen=True)
class WorstPrefix:
    """After which tokens two laws differ most.

    Attributes:
        path: Tokens before.
        token: Token after it whose probability is furthest off.
        given: Its joint probability under the law on trial.
        expected: The same under the target law, at the path's own probability on trial.
        total_variation: Distance of the next token's laws, times the path's probability.
    """

    path: TokenPath
    token: int
    given: float
    expected: float
    total_variation: float


def worst_prefix(law: Mapping[TokenPath, Number], problem: Problem) -> WorstPrefix | None:
    """Return the place where a completed law leaves the target law most, None if nowhere."""
    mass: dict[TokenPath, Number] = {}
    for path, weight in law.items():
        for length in range(len(path) + 1):
            mass[path[:length]] = mass.get(path[:length], 0) + weight
    worst: WorstPrefix | None = None
    for path, weight in sorted(mass.items(), key=lambda entry: (len(entry[0]), entry[0])):
        if not weight or len(path) > problem.depth or path not in problem.target:
            continue
        given: list[Number] = [mass.get((*path, token), 0) for token in range(problem.vocab)]
        expected: list[Number] = [weight * share for share in problem.target[path]]
        gaps = [_gap(one, other) for one, other in zip(given, expected, strict=True)]
        off = float(sum(gaps)) / 2
        if off > (worst.total_variation if worst else 0.0) + 1e-15:
            token = gaps.index(max(gaps))
            worst = WorstPrefix(path, token, float(given[token]), float(expected[token]), off)
    return worst
