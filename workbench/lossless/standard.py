"""The problems on which a verifier is tried when none are given: small, with uneven laws, some with zeros."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Final

import numpy as np

from workbench.lossless.problem import Drafts, Problem, TokenLaw, TokenPath

DENOMINATOR: Final = 64
"""A power of two, so that laws are exact in every float format."""

Tree = Mapping[TokenPath, tuple[int, ...]]

_TREES: Final[Mapping[str, tuple[int, Tree]]] = {
    "chain1": (3, {(): (1,)}),
    "chain2": (3, {(): (0,), (0,): (2,)}),
    "chain3": (3, {(): (2,), (2,): (0,), (2, 0): (1,)}),
    "star2": (4, {(): (2, 0)}),
    "star3": (4, {(): (1, 3, 0)}),
    "tree_2x1": (3, {(): (1, 0), (1,): (2,), (0,): (0,)}),
    "uneven": (3, {(): (0, 2), (2,): (1, 0)}),
}
_DRAWN: Final[Mapping[str, tuple[int, int, int]]] = {
    "chain1": (3, 1, 1),
    "chain2": (3, 2, 1),
    "chain3": (3, 3, 1),
    "star2": (3, 1, 2),
    "star3": (4, 1, 3),
    "tree_2x2": (2, 2, 2),
}
"""Name to vocabulary, depth, width."""


def standard_problems(drafts: Drafts, *, chains: bool, width: int | None = None) -> tuple[Problem, ...]:
    """Return problems whose drafts come about in one way, smallest first.

    Args:
        drafts: How the drafts come about.
        chains: Only those without siblings; only those with some where there are any, if False.
        width: Children of a node, for drafts that are drawn.
    """
    if drafts in ("sampled", "distinct"):
        shapes = [
            (name, vocab, depth, width if width and each > 1 else each)
            for name, (vocab, depth, each) in _DRAWN.items()
            if (each == 1) == chains
        ]
        made = [_problem(name, vocab, depth, drafts, width=each) for name, vocab, depth, each in shapes]
    else:
        made = [
            _problem(name, vocab, max(map(len, tree)) + 1, drafts, tree=tree)
            for name, (vocab, tree) in _TREES.items()
            if name.startswith("chain") == chains
        ]
    return (*made, *(_with_zeros(problem) for problem in made[:1]))


def _problem(
    name: str, vocab: int, depth: int, drafts: Drafts, *, tree: Tree | None = None, width: int = 1
) -> Problem:
    tree = tree or {}
    chance = np.random.Generator(np.random.Philox(sum(map(ord, name))))
    paths = [path for length in range(depth + 1) for path in product(range(vocab), repeat=length)]
    target = {path: _law(chance, vocab) for path in paths}
    draft = {path: _law(chance, vocab) for path in paths if len(path) < depth}
    if drafts == "top":
        tree = _most_likely(draft, tree, ())
    return Problem(f"{name}_v{vocab}", vocab, depth, target, draft, drafts, tree, width)


def _law(chance: np.random.Generator, vocab: int) -> TokenLaw:
    counts = chance.multinomial(DENOMINATOR - vocab, chance.dirichlet(np.ones(vocab))) + 1
    return tuple(Fraction(int(count), DENOMINATOR) for count in counts)


def _most_likely(
    draft: Mapping[TokenPath, TokenLaw], shape: Tree, path: TokenPath, like: TokenPath = ()
) -> dict[TokenPath, tuple[int, ...]]:
    """Return a tree of the same shape whose nodes are the most likely drafts."""
    if like not in shape:
        return {}
    law = draft[path]
    best = sorted(range(len(law)), key=lambda token: (-law[token], token))[: len(shape[like])]
    found = {path: tuple(best)}
    for token, old in zip(best, shape[like], strict=True):
        found |= _most_likely(draft, shape, (*path, token), (*like, old))
    return found


def _with_zeros(problem: Problem) -> Problem:
    """Return the problem with a target law without mass on what is drafted first, and one that is certain."""
    first = (
        problem.tree[()][0] if problem.tree else max(range(problem.vocab), key=lambda t: problem.draft[()][t])
    )
    other = (first + 1) % problem.vocab
    root = list(problem.target[()])
    root[other] += root[first]
    root[first] = Fraction(0)
    certain = tuple(Fraction(int(token == first)) for token in range(problem.vocab))
    target = {**problem.target, (): tuple(root), (other,): certain}
    return replace(problem, name=f"{problem.name}_zeros", target=target)
