"""Medusa's two rules, which are not lossless: typical acceptance, and drawing anew for every row."""

from __future__ import annotations

from typing import Final

import numpy as np

from reference.sampling.questions import YES, Asking, LawTree, Question, RuleOutcome, yes_or_no

THRESHOLD: Final = 0.09
"""Typical acceptance: the most that a token's probability has to exceed."""
ALPHA: Final = 0.3
"""Typical acceptance: what exp(-entropy) is multiplied by."""


def leaf_paths(tree: LawTree) -> list[list[int]]:
    """Return the path to each leaf, without the root, leaves ascending."""
    paths: list[list[int]] = []

    def walk(node: int, path: list[int]) -> None:
        for child in tree.below(node):
            walk(child, [*path, child])
        if path and not tree.below(node):
            paths.append(path)

    walk(0, [])
    return sorted(paths, key=lambda path: path[-1])


def typical(tree: LawTree, threshold: float = THRESHOLD, alpha: float = ALPHA) -> Asking:
    """Accept what is likely enough for the entropy of its place; the longest run, the likeliest of equals.

    Nothing is drawn: the final token is the teacher's best.
    """
    runs = []
    for path in leaf_paths(tree):
        run: list[int] = []
        for above, node in zip([0, *path], path, strict=False):
            law = tree.target(above)
            entropy = -float((law * np.log(law + 1e-5)).sum())
            least = min(threshold, np.exp(-entropy) * alpha)
            margin = np.array([least, law[tree.token_ids[node]]])  # of equal ones, no
            if (yield Question(margin, node, is_drawn=False)) == 0:
                break
            run.append(node)
        runs.append(run)
    longest = max((len(run) for run in runs), default=0)
    chosen: list[int] = []
    if longest:
        equals = [run for run in runs if len(run) == longest]
        likelihoods = [
            sum(
                np.log(tree.target(above)[tree.token_ids[node]])
                for above, node in zip([0, *run], run, strict=False)
            )
            for run in equals
        ]
        best = yield Question(np.array(likelihoods), equals[0][0], is_drawn=False)
        chosen = equals[best]
    last = chosen[-1] if chosen else 0
    token_id = yield Question(tree.rows(last), last, is_drawn=False, what="final")
    return RuleOutcome((0, *chosen), token_id)


def nucleus(tree: LawTree) -> Asking:
    """Draw a token for every place of every row; a row is accepted while they are its own.

    The first of the longest runs wins, and the final token is drawn anew from the whole law.
    """
    longest: list[int] = []
    for path in leaf_paths(tree):
        run: list[int] = []
        for above, node in zip([0, *path], path, strict=False):
            chance = tree.target(above)[tree.token_ids[node]]
            if (yield Question(yes_or_no(chance), node)) != YES:
                break
            run.append(node)
        if len(run) > len(longest):
            longest = run
    last = longest[-1] if longest else 0
    token_id = yield Question(tree.target(last), last, what="final")
    return RuleOutcome((0, *longest), token_id)
