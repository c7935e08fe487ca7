"""A verifier's verdict: its law against the target law, problem by problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from itertools import product
from typing import Any, Final, Literal

import numpy as np

from tracing.errors import UsageError
from workbench.lossless.evidence import LawEvidence, PromptEvidence
from workbench.lossless.forks import Budget
from workbench.lossless.law import (
    EmissionLaw,
    Number,
    WorstPrefix,
    completed,
    divergence,
    draws_needed,
    grown_at_random,
    target_law,
    total_variation,
    worst_prefix,
)
from workbench.lossless.mistakes import MISTAKES
from workbench.lossless.problem import Problem, TokenPath
from workbench.lossless.rules import AcceptanceRule, law_of_rule
from workbench.lossless.trial import VerifierTrial, sampled_results, tried
from workbench.lossless.verifier import Malformed, Numbers, Raised, Verifier

LosslessVerdict = Literal["lossless", "lossless within E", "not lossless", "inconclusive"]
WORST_FIRST: Final[tuple[LosslessVerdict, ...]] = (
    "not lossless",
    "inconclusive",
    "lossless within E",
    "lossless",
)
ROUNDINGS: Final = 8
"""Roundings for each probability that a step looks at, which no verdict is made of."""
SAME_LAW: Final = 1e-9
SAME_ERRORS: Final = 4
"""Errors by which two laws may differ and be called the same."""
MISTAKE_RUNS: Final = 20_000


@dataclass(frozen=True)
class JudgeSettings:
    """How a verifier is judged.

    Attributes:
        numbers: Form of the probabilities that it gets; None tries fractions, then float64.
        runs: Calls of it for one problem.
        seconds: Time for one problem.
        within: Greatest error at which `lossless within E` says something.
        alpha: Level of the statistical test that is spoken of.
        is_explaining: Whether to say what a wrong law is like.
    """

    numbers: Numbers | None = None
    runs: int = 200_000
    seconds: float = 120.0
    samples: int = 20_000
    within: float = 5e-3
    alpha: float = 1e-3
    is_explaining: bool = True


@dataclass(frozen=True)
class ProblemVerdict:
    """What was found on one problem.

    Attributes:
        total_variation: Distance of the law to the target law, to `depth + 1` tokens.
        error: E: bound on what numerical work and rounding add to it.
        trial: What the verifier did.
        worst: Where the laws differ most; None if nowhere.
        draws: Draws that a statistical test of level alpha would have needed; None if no number suffices.
        failures: What it raised or returned instead of tokens, with the probability.
        at_zero: Emitted with a target probability of 0, but only where a draw is exactly 0.
        zero_mass: Probability of that in floating point.
        same_as: Known mistakes with the same law here.
    """

    problem: Problem
    verdict: LosslessVerdict
    total_variation: Number
    error: float
    trial: VerifierTrial = field(repr=False)
    worst: WorstPrefix | None = None
    draws: float | None = None
    failures: tuple[tuple[str, float], ...] = ()
    at_zero: tuple[TokenPath, ...] = ()
    zero_mass: float = 0.0
    same_as: tuple[str, ...] = ()


def overall(found: Sequence[ProblemVerdict]) -> LosslessVerdict:
    """Return the worst verdict."""
    return min((each.verdict for each in found), key=WORST_FIRST.index)


def judged(verifier: Verifier, problem: Problem, settings: JudgeSettings) -> ProblemVerdict:
    """Judge a verifier on a problem.

    Raises:
        UsageError: It raises at every draw, so that it was hardly meant to be called like this.
    """
    trial = tried(
        verifier, problem, settings.numbers, Budget(settings.runs, settings.seconds), settings.samples
    )
    found = verdict_of(trial, problem, settings, rows=2 if verifier.is_batched else 1, name=verifier.name)
    if trial.how == "opened" and found.verdict == "not lossless" and not found.failures:
        return found if _is_confirmed(found, verifier, settings) else replace(found, verdict="inconclusive")
    return found


def _is_confirmed(found: ProblemVerdict, verifier: Verifier, settings: JudgeSettings) -> bool:
    """Whether runs by chance say the same as an opened law: what was assumed of the function may be wrong."""
    if verifier.is_batched:
        return True
    problem, numbers = found.problem, found.trial.numbers
    emitted = {path: weight for path, weight in found.trial.law.items() if isinstance(path, tuple)}
    prompt = PromptEvidence(target_law(problem), {"opened": completed(emitted, problem)}, ["opened"])
    evidence = LawEvidence({"": prompt}, ["opened"], settings.alpha)
    chance = np.random.Generator(np.random.Philox(7))
    runs = sampled_results(verifier, problem, numbers, settings.samples)
    paths = [grown_at_random(path, problem, chance) for path in runs if isinstance(path, tuple)]
    return evidence.extend([("", path, "") for path in paths]) is not None


def rule_verdict(rule: AcceptanceRule, problem: Problem, settings: JudgeSettings) -> ProblemVerdict:
    """Judge one of our own rules, or a known mistake, on a problem."""
    found = law_of_rule(rule.function, problem, Budget(settings.runs, settings.seconds))
    how: Any = "integrated" if found.error else "exact"
    trial = VerifierTrial(dict(found.law), dict(found.edges), found.error, how, "fraction", found.runs)
    return verdict_of(trial, problem, settings, rows=1, name=rule.name)


def verdict_of(
    trial: VerifierTrial, problem: Problem, settings: JudgeSettings, *, rows: int, name: str
) -> ProblemVerdict:
    """Compare what a verifier did with the target law."""
    emitted: dict[Any, Number] = {key: weight for key, weight in trial.law.items() if isinstance(key, tuple)}
    failures = _failures(trial)
    if not emitted:
        raise UsageError(
            f"{name} never emits tokens on {problem.name}: {failures[0][0] if failures else 'no run ended'}"
        )
    law = _joined(emitted, problem, rows)
    target = _joined({(): Fraction(1)} if rows == 1 else {((),) * rows: Fraction(1)}, problem, rows)
    gap = sum((max(law.get(key, 0) - target.get(key, 0), 0) for key in law), Fraction(0))
    gap = gap + sum((weight for key, weight in trial.law.items() if not isinstance(key, tuple)), Fraction(0))
    rounding = (
        ROUNDINGS * rows * problem.vocab * (problem.depth + 1) * float(np.finfo(_kind(trial.numbers)).eps)
    )
    error = min(trial.error, 1.0) + rounding
    at_zero = _impossible(trial, problem, rows)
    zero_mass = sum(at_zero.values(), Fraction(0))
    gap = gap + zero_mass
    verdict = _verdict(gap, error, trial, settings, has_failed=bool(failures))
    found = ProblemVerdict(
        problem,
        verdict,
        gap,
        error,
        trial,
        failures=failures,
        at_zero=tuple(sorted(at_zero)),
        zero_mass=float(zero_mass),
    )
    if verdict != "not lossless" or not settings.is_explaining:
        return found
    marginal = law if rows == 1 else _marginal(law)
    nats = divergence(law, target)
    return replace(
        found,
        worst=worst_prefix(marginal, problem),
        draws=draws_needed(nats, settings.alpha),
        same_as=tuple(mistakes_like(found, marginal)) if rows == 1 and not failures else (),
    )


def _kind(numbers: Numbers) -> str:
    return "float64" if numbers == "fraction" else numbers


def _verdict(
    gap: Number, error: float, trial: VerifierTrial, settings: JudgeSettings, *, has_failed: bool
) -> LosslessVerdict:
    if has_failed or gap > error:
        return "not lossless"
    if trial.error == 0 and gap == 0 and all(isinstance(weight, Fraction) for weight in trial.law.values()):
        return "lossless"
    return "lossless within E" if error <= settings.within else "inconclusive"


def _failures(trial: VerifierTrial) -> tuple[tuple[str, float], ...]:
    words: list[tuple[str, float]] = []
    for key, weight in trial.law.items():
        if isinstance(key, Raised):
            words.append((f"raised {key.kind}: {key.sentence}", float(weight)))
        elif isinstance(key, Malformed):
            words.append((key.sentence, float(weight)))
    return tuple(words)


def _joined(law: dict[Any, Number], problem: Problem, rows: int) -> dict[Any, Number]:
    """Complete a law, of several rows of a batch together."""
    if rows == 1:
        return dict(completed(law, problem))
    done: dict[Any, Number] = {}
    for paths, weight in law.items():
        parts = [completed({path: Fraction(1)}, problem).items() for path in paths]
        for choice in product(*parts):
            key = tuple(path for path, _ in choice)
            share = weight
            for _, part in choice:
                share = share * part
            done[key] = done.get(key, 0) + share
    return done


def _marginal(law: dict[Any, Number]) -> EmissionLaw:
    """Return the law of the row that is furthest from symmetric use: the last one."""
    one: EmissionLaw = {}
    for paths, weight in law.items():
        one[paths[-1]] = one.get(paths[-1], 0) + weight
    return one


def _impossible(trial: VerifierTrial, problem: Problem, rows: int) -> dict[TokenPath, Number]:
    """Return what is emitted at an edge and has no probability under the target law, with its own."""
    found: dict[TokenPath, Number] = {}
    for key, weight in trial.edges.items():
        for path in (key,) if rows == 1 or not isinstance(key, tuple) else key:
            if isinstance(path, tuple) and any(
                not problem.target[path[:i]][token]
                for i, token in enumerate(path)
                if path[:i] in problem.target
            ):
                found[path] = found.get(path, 0) + weight
    return found


def mistakes_like(found: ProblemVerdict, law: EmissionLaw) -> list[str]:
    """Return known mistakes that have the law of a finding on its problem."""
    problem = found.problem
    is_at_zero = found.zero_mass > found.error
    names = []
    for name, rule in MISTAKES.items():
        if problem.drafts not in rule.drafts or (rule.is_for_chains and not problem.is_chain):
            continue
        other, error, edges = _mistake_law(name, _Key(problem))
        distance = float(total_variation(law, other))
        is_no_mistake = not edges and float(total_variation(other, target_law(problem))) <= SAME_LAW
        if (
            distance <= max(SAME_LAW, SAME_ERRORS * (found.error + error))
            and edges == is_at_zero
            and not is_no_mistake
        ):
            names.append(name)
    return names


class _Key:
    """A problem by identity, for the cache."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def __hash__(self) -> int:
        return hash((self.problem.name, self.problem.drafts, self.problem.width))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.problem == self.problem


@cache
def _mistake_law(name: str, key: _Key) -> tuple[EmissionLaw, float, bool]:
    enumerated = law_of_rule(MISTAKES[name].function, key.problem, Budget(MISTAKE_RUNS, 10.0))
    trial = VerifierTrial(
        dict(enumerated.law), dict(enumerated.edges), enumerated.error, "exact", "fraction", enumerated.runs
    )
    zero_mass = sum(_impossible(trial, key.problem, 1).values(), Fraction(0))
    return completed(enumerated.law, key.problem), enumerated.error, zero_mass > SAME_LAW
