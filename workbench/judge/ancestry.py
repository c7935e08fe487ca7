"""The judge's own walk over parents: depth, ancestors and children, one node after the other."""

from __future__ import annotations

import numpy as np

from tracing.stages import BoolArray, IntArray, Tensorized


def ancestors(parents: IntArray, node: int) -> list[int]:
    """Return the ancestors of a node, nearest first, root last.

    The walk stops after as many steps as there are nodes (a cycle) and at a parent out of range.
    """
    path: list[int] = []
    while node != 0 and len(path) < len(parents):
        node = int(parents[node])
        if not 0 <= node < len(parents):
            break
        path.append(node)
    return path


def expected_depths(parents: IntArray, num_valid: int) -> IntArray:
    """Return the depth of each of the first `num_valid` nodes; pads have depth 0, `[N]`."""
    depths = np.zeros(len(parents), dtype=np.int64)
    for node in range(1, num_valid):
        depths[node] = len(ancestors(parents, node))
    return depths


def expected_visible(parents: IntArray, num_valid: int) -> BoolArray:
    """Return `visible[query, key]`: self and ancestors of valid nodes; pads neither see nor are seen."""
    visible = np.zeros((len(parents), len(parents)), dtype=np.bool_)
    for node in range(num_valid):
        visible[node, node] = True
        for ancestor in ancestors(parents, node):
            visible[node, ancestor] = True
    return visible


def accepted_walk(tree: Tensorized, target_token_ids: IntArray) -> list[int]:
    """Return the draft nodes that greedy acceptance takes, before any cut.

    From the root on: take the child whose token is the choice after the current node (the lowest
    numbered of several), until there is none.
    """
    accepted: list[int] = []
    node = 0
    while len(accepted) < len(tree.parents):
        child = _matching_child(tree, node, int(target_token_ids[node]))
        if child is None:
            break
        accepted.append(child)
        node = child
    return accepted


def _matching_child(tree: Tensorized, node: int, token_id: int) -> int | None:
    """Return the lowest numbered valid child of a node with that token, or None."""
    for child in range(1, len(tree.parents)):
        is_child = tree.valid[child] and tree.parents[child] == node and child != node
        if is_child and tree.token_ids[child] == token_id:
            return child
    return None
