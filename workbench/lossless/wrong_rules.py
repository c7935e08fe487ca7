"""Wrong acceptance rules, each the least change of a right one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Final

from workbench.lossless.drafting import DraftedTree
from workbench.lossless.problem import TokenPath
from workbench.lossless.rules import (
    Chance,
    Weights,
    by_ratio,
    normalised,
    positive_part,
    residual_or,
    sampled_from,
    walked,
    without,
)

BFLOAT16_BITS: Final = 8


def _leaves(tree: DraftedTree, path: TokenPath = ()) -> Iterator[TokenPath]:
    children = tree.children(path)
    if not children and path:
        yield path
    for token in dict.fromkeys(children):
        yield from _leaves(tree, (*path, token))


def _likeliest(law: Weights) -> int:
    return max(range(len(law)), key=lambda token: law[token])


def resample_full_target(tree: DraftedTree, chance: Chance) -> list[int]:
    """Accept with the target probability, on rejection draw from the whole target law."""

    def level(path: TokenPath) -> tuple[int | None, Weights]:
        law = tree.target(path)
        for token in dict.fromkeys(tree.children(path)):
            if chance.random() < law[token]:
                return token, law
        return None, law

    return walked(tree, chance, level)


def medusa_nucleus(tree: DraftedTree, chance: Chance) -> list[int]:
    """Draw a token for every row and depth, take the longest match, go on with the whole law."""
    best: TokenPath = ()
    for leaf in list(_leaves(tree)):
        drawn = [sampled_from(tree.target(leaf[:depth]), chance) for depth in range(len(leaf))]
        length = next((i for i, token in enumerate(drawn) if token != leaf[i]), len(leaf))
        best = leaf[:length] if length > len(best) else best
    return [*best, sampled_from(tree.target(best), chance)]


def medusa_typical(tree: DraftedTree, _: Chance, *, threshold: float, alpha: float) -> list[int]:
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


def one_child_step(
    tree: DraftedTree,
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


def ratio(law: Weights, draft: Weights, token: int) -> Any:
    """Return p/q, 0 where the draft law has nothing."""
    return law[token] / draft[token] if draft[token] else 0


def usual_residual(law: Weights, draft: Weights, _: int) -> Weights:
    """Return max(p - q, 0)."""
    return positive_part(law, draft)


def accept_everything(tree: DraftedTree, chance: Chance) -> list[int]:
    """Accept every first draft, as a draw that is always 0 does; zero mass too."""
    path: TokenPath = ()
    while tree.children(path):
        path = (*path, tree.children(path)[0])
    return [*path, sampled_from(tree.target(path), chance)]


def first_at_coin_zero(tree: DraftedTree, chance: Chance) -> list[int]:
    """EAGLE's posterior with `<=`: a single-precision draw of exactly 0 accepts a token of probability 0."""

    def level(path: TokenPath) -> tuple[int | None, Weights]:
        law = list(tree.target(path))
        for token in dict.fromkeys(tree.children(path)):
            if chance.random(dtype="float32") <= law[token]:
                return token, law
            law = normalised(without(law, [token]))
        return None, law

    return walked(tree, chance, level)


def greedy_verification(tree: DraftedTree, _: Chance) -> list[int]:
    """Take the most likely token although the request samples."""
    path: TokenPath = ()
    while True:
        token = _likeliest(tree.target(path))
        if token not in tree.children(path):
            return [*path, token]
        path = (*path, token)


def one_draw_for_all(tree: DraftedTree, chance: Chance) -> list[int]:
    """Compare every draft with the same draw."""
    coin = chance.random()

    def level(path: TokenPath) -> tuple[int | None, Weights]:
        return by_ratio(tree.target(path), tree.draft(path), tree.children(path), lambda: coin)

    return walked(tree, chance, level)


def residual_of_the_row_before(tree: DraftedTree, chance: Chance) -> list[int]:
    """Draw the replacement from the residual of the position before, or of the first one at the first."""
    before: list[TokenPath] = [()]

    def level(path: TokenPath) -> tuple[int | None, Weights]:
        law, draft = tree.target(path), tree.draft(path)
        for token in tree.children(path)[:1]:
            if chance.random() < ratio(law, draft, token):
                before.append(path)
                return token, law
        stale = before[-1]
        return None, normalised(residual_or(positive_part(tree.target(stale), tree.draft(stale)), law))

    return walked(tree, chance, level)


def bonus_from_the_residual(tree: DraftedTree, chance: Chance) -> list[int]:
    """After full acceptance draw the last token from the residual of the last accepted position."""
    path: TokenPath = ()
    left: Weights = tree.target(())
    while tree.children(path):
        law, draft, token = tree.target(path), tree.draft(path), tree.children(path)[0]
        residual = normalised(residual_or(positive_part(law, draft), law))
        if not chance.random() < ratio(law, draft, token):
            return [*path, sampled_from(residual, chance)]
        path, left = (*path, token), residual
    return [*path, sampled_from(left, chance)]


def bonus_from_the_draft(tree: DraftedTree, chance: Chance) -> list[int]:
    """After full acceptance draw the last token from the law of the position before."""
    path: TokenPath = ()
    last = path
    while tree.children(path):
        law, draft, token = tree.target(path), tree.draft(path), tree.children(path)[0]
        if not chance.random() < ratio(law, draft, token):
            return [*path, sampled_from(residual_or(positive_part(law, draft), law), chance)]
        last, path = path, (*path, token)
    return [*path, sampled_from(tree.target(last), chance)]


def block_by_products(tree: DraftedTree, chance: Chance) -> list[int]:
    """Accept to the last position where the product of min(1, p/q) exceeds that of all draws so far."""
    path: TokenPath = ()
    product: Any = Fraction(1)
    draws: Any = 1
    positions: list[tuple[TokenPath, Any]] = [((), Fraction(1))]
    kept = 0
    while tree.children(path):
        law, draft, token = tree.target(path), _law_of_draft(tree, path), tree.children(path)[0]
        product *= min(ratio(law, draft, token), 1)
        draws = chance.random() * draws
        path = (*path, token)
        positions.append((path, product))
        if draws < product:
            kept = len(positions) - 1
    path, weight = positions[kept]
    law = tree.target(path)
    if not tree.children(path):
        return [*path, sampled_from(law, chance)]
    joint = positive_part([weight * each for each in law], _law_of_draft(tree, path))
    return [*path, sampled_from(residual_or(joint, law), chance)]


def _law_of_draft(tree: DraftedTree, path: TokenPath) -> Weights:
    """Return the draft law that a verifier knows: certain of the draft where drafts have none."""
    law = tree.target(path)
    if tree.problem.gives_draft_law:
        return tree.draft(path)
    return [Fraction(int(token == tree.children(path)[0])) for token in range(len(law))]


def _bfloat16(value: Fraction) -> Fraction:
    """Round to 8 significant bits, ties to even."""
    if not value:
        return value
    exponent = math.frexp(float(value))[1]
    unit = Fraction(2) ** (exponent - BFLOAT16_BITS)
    return round(value / unit) * unit


def low_precision(tree: DraftedTree, chance: Chance) -> list[int]:
    """Verify with a draft law in bfloat16, though the drafts were drawn from the full one."""

    def level(path: TokenPath) -> tuple[int | None, Weights]:
        rounded = [_bfloat16(Fraction(each)) for each in tree.draft(path)]
        return by_ratio(tree.target(path), rounded, tree.children(path), chance.random)

    return walked(tree, chance, level)


def duplicates_dropped(tree: DraftedTree, chance: Chance) -> list[int]:
    """Independent children, of which a repeated one is not tried again."""

    def level(path: TokenPath) -> tuple[int | None, Weights]:
        children = dict.fromkeys(tree.children(path))
        return by_ratio(tree.target(path), tree.draft(path), children, chance.random)

    return walked(tree, chance, level)
