"""Known ways to get verification wrong, most of them made in public: each a rule, with where it was seen.

What a verifier under test does wrong is named by the mistake that has the same law on the same problems.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from functools import partial
from typing import Any, Final

from workbench.lossless.drafting import DraftTree
from workbench.lossless.problem import DRAFTS, TokenPath
from workbench.lossless.rules import (
    Chance,
    Rule,
    RuleFunction,
    Weights,
    multi_step,
    normalised,
    positive_part,
    recursive_rejection,
    residual_or,
    sampled_from,
    walked,
    without,
)

BFLOAT16_BITS: Final = 8
Step = tuple[bool, Weights]


def _leaves(tree: DraftTree, path: TokenPath = ()) -> Iterator[TokenPath]:
    children = tree.children(path)
    if not children and path:
        yield path
    for token in dict.fromkeys(children):
        yield from _leaves(tree, (*path, token))


def _likeliest(law: Weights) -> int:
    return max(range(len(law)), key=lambda token: law[token])


def resample_full_target(tree: DraftTree, chance: Chance) -> list[int]:
    """Accept with the target probability, on rejection draw from the whole target law."""

    def level(path: TokenPath) -> tuple[int | None, Weights]:
        law = tree.target(path)
        for token in dict.fromkeys(tree.children(path)):
            if chance.random() < law[token]:
                return token, law
        return None, law

    return walked(tree, chance, level)


def medusa_nucleus(tree: DraftTree, chance: Chance) -> list[int]:
    """Draw a token for every row and depth, take the longest match, go on with the whole law."""
    best: TokenPath = ()
    for leaf in list(_leaves(tree)):
        drawn = [sampled_from(tree.target(leaf[:depth]), chance) for depth in range(len(leaf))]
        length = next((i for i, token in enumerate(drawn) if token != leaf[i]), len(leaf))
        best = leaf[:length] if length > len(best) else best
    return [*best, sampled_from(tree.target(best), chance)]


def medusa_typical(tree: DraftTree, _: Chance, *, threshold: float, alpha: float) -> list[int]:
    """Accept what is typical under the target law, and take its most likely token after that."""

    def typical(path: TokenPath, token: int) -> bool:
        law = [float(each) for each in tree.target(path)]
        entropy = -sum(each * math.log(each) for each in law if each)
        return law[token] > min(threshold, alpha * math.exp(-entropy))

    best: TokenPath = ()
    likelihood = Fraction(0)
    for leaf in _leaves(tree):
        length = next((i for i, token in enumerate(leaf) if not typical(leaf[:i], token)), len(leaf))
        weight = math.prod((tree.target(leaf[:i])[leaf[i]] for i in range(length)), start=Fraction(1))
        if length > len(best) or (length == len(best) > 0 and weight > likelihood):
            best, likelihood = leaf[:length], weight
    return [*best, _likeliest(tree.target(best))]


def original_draft_law(tree: DraftTree, chance: Chance) -> list[int]:
    """Children without replacement, verified as if each had been drawn from the whole draft law."""
    return multi_step(tree, chance)


def one_child_step(
    tree: DraftTree,
    chance: Chance,
    *,
    passes: Callable[[Weights, Weights, int], Any],
    residual: Callable[..., Weights],
) -> list[int]:
    """A multi-step rule with another condition (a threshold for the draw) or another residual."""

    def level(path: TokenPath) -> tuple[int | None, Weights]:
        law, draft = list(tree.target(path)), tree.draft(path)
        for token in tree.children(path):
            if chance.random() < passes(law, draft, token):
                return token, law
            left = residual(law, draft, token)
            law = normalised(residual_or(left, tree.target(path)))
        return None, law

    return walked(tree, chance, level)


def _ratio(law: Weights, draft: Weights, token: int) -> Any:
    return law[token] / draft[token] if draft[token] else 0


def _usual_residual(law: Weights, draft: Weights, _: int) -> Weights:
    return positive_part(law, draft)


def accept_everything(tree: DraftTree, chance: Chance) -> list[int]:
    """Accept every first draft, as a draw that is always 0 does; zero mass too."""
    path: TokenPath = ()
    while tree.children(path):
        path = (*path, tree.children(path)[0])
    return [*path, sampled_from(tree.target(path), chance)]


def first_at_coin_zero(tree: DraftTree, chance: Chance) -> list[int]:
    """EAGLE's posterior with `<=`: a single-precision draw of exactly 0 accepts a token of probability 0."""

    def level(path: TokenPath) -> tuple[int | None, Weights]:
        law = list(tree.target(path))
        for token in dict.fromkeys(tree.children(path)):
            if chance.random(dtype="float32") <= law[token]:
                return token, law
            law = normalised(without(law, [token]))
        return None, law

    return walked(tree, chance, level)


def greedy_verification(tree: DraftTree, _: Chance) -> list[int]:
    """Take the most likely token although the request samples."""
    path: TokenPath = ()
    while True:
        token = _likeliest(tree.target(path))
        if token not in tree.children(path):
            return [*path, token]
        path = (*path, token)


def one_draw_for_all(tree: DraftTree, chance: Chance) -> list[int]:
    """Compare every draft with the same draw."""
    coin = chance.random()

    def level(path: TokenPath) -> tuple[int | None, Weights]:
        law, draft = list(tree.target(path)), tree.draft(path)
        for token in tree.children(path):
            if coin < _ratio(law, draft, token):
                return token, law
            law = normalised(residual_or(positive_part(law, draft), law))
        return None, law

    return walked(tree, chance, level)


def residual_of_the_row_before(tree: DraftTree, chance: Chance) -> list[int]:
    """Draw the replacement from the residual of the position before, or of the first one at the first."""
    before: list[TokenPath] = [()]

    def level(path: TokenPath) -> tuple[int | None, Weights]:
        law, draft = tree.target(path), tree.draft(path)
        for token in tree.children(path)[:1]:
            if chance.random() < _ratio(law, draft, token):
                before.append(path)
                return token, law
        stale = before[-1]
        return None, normalised(residual_or(positive_part(tree.target(stale), tree.draft(stale)), law))

    return walked(tree, chance, level)


def bonus_from_the_residual(tree: DraftTree, chance: Chance) -> list[int]:
    """After full acceptance draw the last token from the residual of the last accepted position."""
    path: TokenPath = ()
    left: Weights = tree.target(())
    while tree.children(path):
        law, draft, token = tree.target(path), tree.draft(path), tree.children(path)[0]
        residual = normalised(residual_or(positive_part(law, draft), law))
        if not chance.random() < _ratio(law, draft, token):
            return [*path, sampled_from(residual, chance)]
        path, left = (*path, token), residual
    return [*path, sampled_from(left, chance)]


def bonus_from_the_draft(tree: DraftTree, chance: Chance) -> list[int]:
    """After full acceptance draw the last token from the law of the position before."""
    path: TokenPath = ()
    last = path
    while tree.children(path):
        law, draft, token = tree.target(path), tree.draft(path), tree.children(path)[0]
        if not chance.random() < _ratio(law, draft, token):
            return [*path, sampled_from(residual_or(positive_part(law, draft), law), chance)]
        last, path = path, (*path, token)
    return [*path, sampled_from(tree.target(last), chance)]


def block_by_products(tree: DraftTree, chance: Chance) -> list[int]:
    """Accept to the last position where the product of min(1, p/q) exceeds that of all draws so far."""
    path: TokenPath = ()
    ratio: Any = Fraction(1)
    draws: Any = 1
    positions: list[tuple[TokenPath, Any]] = [((), Fraction(1))]
    kept = 0
    while tree.children(path):
        law, draft, token = tree.target(path), tree.draft(path), tree.children(path)[0]
        ratio *= min(_ratio(law, draft, token), 1)
        draws = chance.random() * draws
        path = (*path, token)
        positions.append((path, ratio))
        if draws < ratio:
            kept = len(positions) - 1
    path, weight = positions[kept]
    law = tree.target(path)
    if not tree.children(path):
        return [*path, sampled_from(law, chance)]
    joint = positive_part([weight * each for each in law], tree.draft(path))
    return [*path, sampled_from(residual_or(joint, law), chance)]


def _bfloat16(value: Fraction) -> Fraction:
    """Round to 8 significant bits, ties to even."""
    if not value:
        return value
    exponent = math.frexp(float(value))[1]
    unit = Fraction(2) ** (exponent - BFLOAT16_BITS)
    return round(value / unit) * unit


def low_precision(tree: DraftTree, chance: Chance) -> list[int]:
    """Verify with a draft law in bfloat16, though the drafts were drawn from the full one."""

    def level(path: TokenPath) -> tuple[int | None, Weights]:
        law, draft = list(tree.target(path)), [_bfloat16(Fraction(each)) for each in tree.draft(path)]
        for token in tree.children(path):
            if chance.random() * draft[token] < law[token]:
                return token, law
            law = normalised(residual_or(positive_part(law, draft), law))
        return None, law

    return walked(tree, chance, level)


def duplicates_dropped(tree: DraftTree, chance: Chance) -> list[int]:
    """Independent children, of which a repeated one is not tried again."""

    def level(path: TokenPath) -> tuple[int | None, Weights]:
        law, draft = list(tree.target(path)), tree.draft(path)
        for token in dict.fromkeys(tree.children(path)):
            if chance.random() * draft[token] < law[token]:
                return token, law
            law = normalised(residual_or(positive_part(law, draft), law))
        return None, law

    return walked(tree, chance, level)


def _variant(
    passes: Callable[[Weights, Weights, int], Any], residual: Callable[..., Weights]
) -> RuleFunction:
    return partial(one_child_step, passes=passes, residual=residual)


def _mistake(
    name: str, function: RuleFunction, drafts: Any, summary: str, source: str = "", *, chains: bool = False
) -> Rule:
    return Rule(name, function, drafts, summary, is_for_chains=chains, source=source)


_WITH_LAW: Final = ("sampled",)

MISTAKES: Final[Mapping[str, Rule]] = {
    each.name: each
    for each in (
        _mistake("ratio-on-fixed-drafts", recursive_rejection, ("top",),
                 "drafts that were not drawn, verified with p/q and residual p - q", "dflash#74, xllm#2175"),
        _mistake("original-ratio-on-fixed-drafts", multi_step, ("top",),
                 "the same, with the whole draft law for later siblings"),
        _mistake("resample-full-target", resample_full_target, DRAFTS,
                 "the replacement comes from the whole target law", "Medusa nucleus, on chains and stars"),
        _mistake("medusa-nucleus", medusa_nucleus, ("fixed", "top"),
                 "a draw per row and depth, longest match"),
        _mistake("medusa-typical", partial(medusa_typical, threshold=0.09, alpha=0.3), ("fixed", "top"),
                 "typical acceptance, by design not lossless"),
        _mistake("medusa-typical-0.3", partial(medusa_typical, threshold=0.3, alpha=0.09), ("fixed", "top"),
                 "typical acceptance with the other usual thresholds"),
        _mistake("original-draft-law", original_draft_law, ("distinct",),
                 "children without replacement, verified with the whole draft law"),
        _mistake("accept-everything", accept_everything, DRAFTS, "every draft passes, as at a draw of 0",
                 "va#13730"),
        _mistake("zero-mass-at-coin-0", first_at_coin_zero, DRAFTS,
                 "a draw of exactly 0 accepts a token of probability 0", "sgl#35771"),
        _mistake("greedy-verification", greedy_verification, DRAFTS,
                 "the most likely token, temperature or not", "sgl#31214"),
        _mistake("one-draw-for-all", one_draw_for_all, _WITH_LAW,
                 "all drafts are compared with the same draw"),
        _mistake("residual-of-the-row-before", residual_of_the_row_before, _WITH_LAW,
                 "the replacement comes from the residual of another row", chains=True),
        _mistake("bonus-from-the-residual", bonus_from_the_residual, _WITH_LAW,
                 "the bonus token comes from a residual", "eagle#47, eagle#50", chains=True),
        _mistake("bonus-from-the-row-before", bonus_from_the_draft, _WITH_LAW,
                 "the bonus token comes from the law of the row before", "sgl#26866", chains=True),
        _mistake("block-by-products", block_by_products, _WITH_LAW,
                 "products of draws where block verification has one draw each", "va#7807", chains=True),
        _mistake("draft-law-in-bfloat16", low_precision, _WITH_LAW,
                 "drafts drawn in one precision and verified in another", "DeepSpec#31"),
        _mistake("duplicates-dropped", duplicates_dropped, _WITH_LAW,
                 "a repeated independent child is not retried", "EAGLE b09a256"),
        _mistake("ratio-upside-down", _variant(lambda p, q, t: _ratio(q, p, t), _usual_residual),
                 _WITH_LAW, "min(1, q/p) instead of min(1, p/q)"),
        _mistake("accept-with-p", _variant(lambda p, _, t: p[t], _usual_residual), _WITH_LAW,
                 "accept with p, replace from max(p - q, 0)"),
        _mistake("residual-upside-down", _variant(_ratio, lambda p, q, _: positive_part(q, p)), _WITH_LAW,
                 "the residual is max(q - p, 0)"),
        _mistake("residual-without-draft-law", _variant(_ratio, lambda p, _, t: without(p, [t])), _WITH_LAW,
                 "accept with p/q, replace from p without the draft", "va#7603"),
        _mistake("residual-full-target", _variant(_ratio, lambda p, *_: p), _WITH_LAW,
                 "accept with p/q, replace from p"),
        _mistake("relaxed-threshold",
                 _variant(lambda p, q, t: _ratio(p, q, t) + Fraction(1, 16), _usual_residual), _WITH_LAW,
                 "accept at p/q + 1/16", "relaxed acceptance, by design not lossless"),
    )
}  # fmt: skip
"""Mistakes by name."""
