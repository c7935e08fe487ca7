"""Order of the nodes, siblings, and parents that changed after the draft."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from invariants.batch.flat import Ragged
from invariants.mutation import Case, Changes, Pick, permuted
from invariants.prefilter import Flags, applicability, entries_at, has_drafts, prefilter, twice
from invariants.rule import (
    BoolArray,
    IntArray,
    NotApplicableError,
    Violation,
    Violations,
    draft_nodes,
    invariant,
)


@invariant("TREE006", stage="tensorize", severity="warning", requires=("TREE002", "TREE003"))
def parent_after_child(parents: IntArray, valid: BoolArray) -> Violations:
    """A node comes before its parent in the packed order.

    ## What it does
    Checks `parents[node] < node` for each valid node but the root.

    ## Why it matters
    Nodes are packed level by level, parents first. A kernel that skips tiles above the diagonal, or a
    one-pass ancestor table, hides an ancestor that comes later.

    ## Example
    `parents = [0, 2, 0]`: node 1 is a child of node 2.

    ## Seen in
    PaddlePaddle/FastDeploy#3514 (mask checks skipped by tile order), SafeAILab/EAGLE b09a256 (rows unsorted).

    ## Limits
    A warning: the paper's invariants allow any order, an engine whose kernels do too may ignore this rule.
    """
    for node in draft_nodes(valid):
        if parents[node] >= node:
            message = f"node {node} comes before its parent {parents[node]}"
            yield Violation(message, "parents", node, found=int(parents[node]))


@invariant("TREE007", stage="tensorize", requires=("TREE002", "TREE003"))
def duplicate_sibling(
    parents: IntArray, token_ids: IntArray, valid: BoolArray, acceptance: str = "greedy"
) -> Violations:
    """Two children of one node carry the same token.

    ## What it does
    Looks for an earlier valid child of the same parent with the same token id.

    ## Why it matters
    The second copy can never be accepted, so budget is lost; under sampling the token is tried twice,
    which changes the distribution of the output.

    ## Example
    `parents = [0, 0, 0]`, `token_ids = [7, 5, 5]`.

    ## Seen in
    SafeAILab/EAGLE b09a256 and 80cd31e (siblings tried repeatedly); a reduced draft vocabulary that maps
    two draft ids to one target id does the same (verl-SpeCo#67 is such a map).

    ## Limits
    Tokens are compared as recorded, after the map to the teacher's vocabulary. Not for `specinfer`, whose
    drafts are independent draws: an equal one is tried again.
    """
    if acceptance == "specinfer":
        raise NotApplicableError("siblings are independent draws and may be equal")
    first_child: dict[tuple[int, int], int] = {}
    for node in draft_nodes(valid):
        key = (int(parents[node]), int(token_ids[node]))
        other = first_child.setdefault(key, node)
        if other != node:
            message = f"nodes {other} and {node} are children of {key[0]} with the same token {key[1]}"
            yield Violation(message, "token_ids", node, found=key[1])


@invariant("TREE011", stage="tensorize", requires=("ROW001",))
def parents_changed(draft_parents: IntArray, parents: IntArray, valid: BoolArray) -> Violations:
    """The tree that is verified has other parents than the tree that was drafted.

    ## What it does
    Where the draft's own parents are recorded, compares them with `parents`, node by node; there must be as
    many as there are valid nodes.

    ## Why it matters
    Positions, visibility and acceptance all follow from the parents: a consistent tree of other parents is
    verified faithfully, and none of its tokens was drafted for its place.

    ## Example
    Node 4 was drafted below node 1 and is verified below node 2.

    ## Seen in
    sgl-project/sglang#8409 (beam position taken for the beam's parent), SafeAILab/EAGLE `topK_genrate`.

    ## Limits
    The column is recorded only where the two differ, or by engines that always record it; without it a
    renamed parent is seen by comparison with the draft alone.
    """
    num_nodes = int(valid.sum())
    if len(draft_parents) != num_nodes:
        message = f"{len(draft_parents)} nodes were drafted, {num_nodes} are valid"
        yield Violation(message, "draft_parents", found=len(draft_parents), expected=num_nodes)
        return
    for node in range(num_nodes):
        if parents[node] != draft_parents[node]:
            message = f"node {node} was drafted below {draft_parents[node]}, its parent is {parents[node]}"
            found, expected = int(parents[node]), int(draft_parents[node])
            yield Violation(message, "parents", node, found=found, expected=expected)


SPREAD: Final = np.int32(-1640531527)
"""Odd, near 2**32 divided by the golden ratio: multiples of it lie far apart."""
CLAUSES: Final = (
    prefilter("TREE003", "TREE006")(
        lambda parents, drafts: drafts & (parents >= np.arange(parents.shape[1]))
    ),
    prefilter("TREE011")(
        lambda draft_parents, valid: draft_parents.lengths != np.count_nonzero(valid, axis=1)
    ),
    applicability("TREE006", "TREE007")(has_drafts),
)


@prefilter("TREE007")
def _same_child_twice(parents: IntArray, token_ids: IntArray, drafts: BoolArray) -> Flags:
    """Sort keys of half the bits first, in which two pairs of parent and token are seldom alike."""
    others = -1 - np.arange(parents.shape[1], dtype=np.int32)
    found: Any = twice(np.where(drafts, parents * SPREAD + token_ids, others))
    if found.any():
        some, few = drafts[found], -1 - np.arange(parents.shape[1])
        keys = (parents[found].astype(np.int64) << 32) | (token_ids[found].astype(np.int64) & 0xFFFFFFFF)
        found[found] = twice(np.where(some, keys, few))
    return found


@prefilter("TREE011")
def _parents_changed(draft_parents: Ragged, parents: IntArray) -> Flags:
    now = entries_at(parents, draft_parents.owner, draft_parents.place)
    return draft_parents.any_step(draft_parents.values != now)


def _parent_swapped_behind_child(case: Case, pick: Pick) -> Case:
    parents = case.row["parents"]
    child = pick([node for node in case.drafts if parents[node] > 0])
    order = list(range(len(parents)))
    order[child], order[parents[child]] = order[parents[child]], order[child]
    return permuted(case, order)


def _sibling_twice(case: Case, pick: Pick) -> Case:
    parents, tokens = case.row["parents"], case.row["token_ids"]
    pairs = [(a, b) for a in case.drafts for b in case.bystanders if a != b and parents[a] == parents[b]]
    first, second = pick(pairs)
    return case.poked("token_ids", second, tokens[first])


def _parent_changed_after_draft(case: Case, pick: Pick) -> Case:
    drafted = case.row["parents"][: 1 + len(case.drafts)].copy()
    node = pick(case.drafts[1:])
    drafted[node] = 0 if drafted[node] else node - 1
    return case.edited(draft_parents=drafted)


MUTATIONS: Final[Changes] = {
    "TREE006 parent-swapped-behind-child": _parent_swapped_behind_child,
    "TREE007 sibling-twice": _sibling_twice,
    "TREE011 parent-changed-after-draft": _parent_changed_after_draft,
    "TREE011 node-lost-after-draft": lambda case, _: case.edited(
        draft_parents=np.append(case.row["parents"][: 1 + len(case.drafts)], np.int32(0))
    ),
}
