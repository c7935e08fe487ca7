"""Acceptance rules as functions of a tree of drafts and a source of chance, in the numbers of the laws.

Each is the obvious form of its rule. Given fractions and a forking source it has an exact law.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from workbench.lossless.compare import Comparisons
from workbench.lossless.drafting import DraftedTree
from workbench.lossless.forks import Budget, Enumeration, Forks, enumerate_runs
from workbench.lossless.problem import Drafts, Problem, TokenPath
from workbench.lossless.sources import ForkingChance, ForkingGenerator

Weights = Sequence[Any]
Chance = Any
"""A `numpy.random.Generator`, or what looks like one."""
RuleFunction = Callable[[DraftedTree, Chance], list[int]]


@dataclass(frozen=True)
class AcceptanceRule:
    """An acceptance rule.

    Attributes:
        name: How the command line calls it.
        function: From tree and chance to the emitted tokens.
        drafts: Ways in which drafts may come about for it.
        summary: What it does, in a line.
        is_lossless: Whether it is proven to leave the target law as it is.
        is_for_chains: Whether it takes chains only.
        source: Where it is described or was seen.
    """

    name: str
    function: RuleFunction
    drafts: tuple[Drafts, ...]
    summary: str
    is_lossless: bool = False
    is_for_chains: bool = False
    source: str = ""


def sampled_from(weights: Weights, chance: Chance) -> int:
    """Return an index drawn with these weights, which need not sum to 1."""
    total = sum(weights)
    return int(chance.choice(len(weights), p=[weight / total for weight in weights]))


def without(weights: Weights, tokens: Sequence[int]) -> list[Any]:
    """Return weights with these tokens taken out."""
    return [0 if token in tokens else weight for token, weight in enumerate(weights)]


def normalised(weights: Weights) -> list[Any]:
    """Return weights divided by their sum."""
    total = sum(weights)
    return [weight / total for weight in weights]


def positive_part(weights: Weights, others: Weights) -> list[Any]:
    """Return `max(weight - other, 0)` for each."""
    return [max(weight - other, 0) for weight, other in zip(weights, others, strict=True)]


def residual_or(weights: Weights, instead: Weights) -> Weights:
    """Return a residual, or the law itself where rounding or certainty left nothing of it."""
    return weights if any(weight > 0 for weight in weights) else instead


def walked(
    tree: DraftedTree, chance: Chance, level: Callable[[TokenPath], tuple[int | None, Weights]]
) -> list[int]:
    """Go down a tree as long as a level accepts, then draw the last token from what it leaves."""
    path: TokenPath = ()
    while tree.children(path):
        accepted, left = level(path)
        if accepted is None:
            return [*path, sampled_from(left, chance)]
        path = (*path, accepted)
    return [*path, sampled_from(tree.target(path), chance)]


def zero_and_renormalise(tree: DraftedTree, chance: Chance) -> list[int]:
    """EAGLE's posterior: a child passes with its residual probability, else it is zeroed, the rest grows."""

    def level(path: TokenPath) -> tuple[int | None, Weights]:
        law = list(tree.target(path))
        for token in dict.fromkeys(tree.children(path)):
            if chance.random() < law[token]:
                return token, law
            law = normalised(without(law, [token]))
        return None, law

    return walked(tree, chance, level)


def follow_the_target(tree: DraftedTree, chance: Chance) -> list[int]:
    """Draw from the target at each node and follow the tree while the draw is a child."""
    path: TokenPath = ()
    while True:
        token = sampled_from(tree.target(path), chance)
        if token not in tree.children(path):
            return [*path, token]
        path = (*path, token)


def by_ratio(
    law: Weights, draft: Weights, children: Iterable[int], draw: Callable[[], Any]
) -> tuple[int | None, Weights]:
    """Try independent children: each passes with min(1, p/q); residual max(p - q, 0), q stays.

    Returns:
        The child that passed, None for none; and the law, or what is left of it.
    """
    for token in children:
        if draw() * draft[token] < law[token]:
            return token, law
        law = normalised(residual_or(positive_part(law, draft), law))
    return None, law


def multi_step(tree: DraftedTree, chance: Chance) -> list[int]:
    """SpecInfer: independent children by ratio."""

    def level(path: TokenPath) -> tuple[int | None, Weights]:
        return by_ratio(tree.target(path), tree.draft(path), tree.children(path), chance.random)

    return walked(tree, chance, level)


def recursive_rejection(tree: DraftedTree, chance: Chance) -> list[int]:
    """Children without replacement: as multi-step, with the law that each child was really drawn from."""

    def level(path: TokenPath) -> tuple[int | None, Weights]:
        law, draft = list(tree.target(path)), list(tree.draft(path))
        for token in tree.children(path):
            if chance.random() * draft[token] < law[token]:
                return token, law
            law = normalised(residual_or(positive_part(law, draft), law))
            left = without(draft, [token])
            draft = normalised(left) if any(left) else left
        return None, law

    return walked(tree, chance, level)


def block_verification(tree: DraftedTree, chance: Chance) -> list[int]:
    """Accept the longest prefix of a chain whose block condition holds; the residual is of the joint law."""
    path: TokenPath = ()
    kept: TokenPath = ()
    weight: Any = Fraction(1)
    kept_weight = weight
    while True:
        tokens = tree.children(path)
        if not tokens:
            break
        ratio = tree.target(path)[tokens[0]] / tree.draft(path)[tokens[0]]
        path = (*path, tokens[0])
        weight = min(weight * ratio, 1)
        if tree.children(path):
            gained = sum(positive_part([weight * p for p in tree.target(path)], tree.draft(path)))
            passes = gained / (gained + 1 - weight) if gained + 1 - weight else 1
        else:
            passes = weight
        if chance.random() < passes:
            kept, kept_weight = path, weight
    law = tree.target(kept)
    if not tree.children(kept):
        return [*kept, sampled_from(law, chance)]
    joint = positive_part([kept_weight * p for p in law], tree.draft(kept))
    return [*kept, sampled_from(residual_or(joint, law), chance)]


RULES: Final[Mapping[str, AcceptanceRule]] = {
    rule.name: rule
    for rule in (
        AcceptanceRule("eagle", zero_and_renormalise, ("fixed", "top", "sampled", "distinct"),
             "draft law taken as 1, zero and renormalise", is_lossless=True,
             source="EAGLE evaluate_posterior"),
        AcceptanceRule("target-match", follow_the_target, ("fixed", "top", "sampled", "distinct"),
             "draw from the target, follow the tree while it has the draw", is_lossless=True),
        AcceptanceRule("specinfer", multi_step, ("sampled",),
             "min(1, p/q), residual max(p - q, 0), children independent",
             is_lossless=True, source="SpecInfer 2305.09781"),
        AcceptanceRule("recursive-rejection", recursive_rejection, ("distinct",),
             "children without replacement, conditional draft laws", is_lossless=True,
             source="RSD 2402.14160, EAGLE-1"),
        AcceptanceRule("block", block_verification, ("sampled",), "longest prefix under the block condition",
             is_lossless=True, is_for_chains=True, source="2403.10444"),
    )
}  # fmt: skip
"""Rules that are proven lossless, by name. `chain rejection sampling` is `specinfer` on a chain."""


def law_of_rule(function: RuleFunction, problem: Problem, budget: Budget | None = None) -> Enumeration:
    """Return the law of what a rule emits on a problem; fractions where the rule computes in fractions."""
    comparisons: Comparisons | None = None

    def run(forks: Forks) -> tuple[int, ...]:
        nonlocal comparisons
        comparisons = comparisons or Comparisons(forks)
        comparisons.restart()
        chance = ForkingGenerator(ForkingChance(forks, comparisons.fresh))
        return tuple(int(token) for token in function(DraftedTree(problem, forks), chance))

    return enumerate_runs(run, budget or Budget())
