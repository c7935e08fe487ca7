"""The tree of drafts of one step: given, or drawn when somebody looks at it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from workbench.lossless.forks import Forks
from workbench.lossless.problem import Problem, TokenLaw, TokenPath, law_after


class DraftedTree:
    """A tree of drafts; children of a node are drawn when they are first asked for."""

    def __init__(self, problem: Problem, forks: Forks) -> None:
        self.problem = problem
        self._forks = forks
        self._drawn: dict[TokenPath, tuple[int, ...]] = {}

    def children(self, path: TokenPath) -> tuple[int, ...]:
        """Return the drafted tokens after a path, in the order in which they are tried."""
        if not self.problem.is_drawn:
            return self.problem.tree.get(path, ())
        if len(path) >= self.problem.depth:
            return ()
        if path not in self._drawn:
            self._drawn[path] = self.fresh_children(path)
        return self._drawn[path]

    def fresh_children(self, path: TokenPath) -> tuple[int, ...]:
        """Draw children; every node of a tree that is laid out draws its own."""
        weights = list(self.draft(path))
        drawn: list[int] = []
        for _ in range(self.problem.width):
            if not any(weights):
                break
            drawn.append(self._forks.choose(weights, f"draft after {path}"))
            if self.problem.drafts == "distinct":
                weights[drawn[-1]] = Fraction(0)
        return tuple(drawn)

    def target(self, path: TokenPath) -> TokenLaw:
        """Return the target law after a path."""
        return law_after(self.problem.target, path, self.problem)

    def draft(self, path: TokenPath) -> TokenLaw:
        """Return the draft law after a path."""
        return law_after(self.problem.draft, path, self.problem)


@dataclass(frozen=True)
class LaidOut:
    """A tree as arrays: node 0 is the root, the others level by level.

    Attributes:
        tokens: Token of each node, the root's is 0; int64 `[N]`.
        parents: Parent of each node, the root's is 0; int64 `[N]`.
        paths: Tokens from the root to each node.
    """

    tokens: NDArray[np.int64]
    parents: NDArray[np.int64]
    paths: tuple[TokenPath, ...]


def laid_out(tree: DraftedTree) -> LaidOut:
    """Return a whole tree, drawing what has to be drawn."""
    tokens, parents = [0], [0]
    paths: list[TokenPath] = [()]
    at = 0
    while at < len(tokens):
        path = paths[at]
        drawn = tree.problem.is_drawn
        found = (
            ()
            if len(path) >= tree.problem.depth
            else (tree.fresh_children(path) if drawn else tree.children(path))
        )
        for token in found:
            tokens.append(token)
            parents.append(at)
            paths.append((*path, token))
        at += 1
    return LaidOut(np.array(tokens), np.array(parents), tuple(paths))
