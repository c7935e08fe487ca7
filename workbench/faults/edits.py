"""Small edits that faults are made of: one entry changed, nodes looked up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tracing.stages import IntArray, Tensorized


def poked(made: Any, name: str, place: Any, value: Any) -> Any:
    """Return a stage's result with one entry of an array replaced by a value, the array itself copied."""
    array = getattr(made, name).copy()
    array[place] = value
    return replace(made, **{name: array})


def poked_parent(tree: Any) -> Any:
    """Return a tree of which a deep node names another parent."""
    node = deep_node(tree)
    return poked(tree, "parents", node, another_parent(tree, node))


def deep_node(tree: Any) -> int:
    """Return the first node of depth 2, else the last valid one."""
    deep = np.flatnonzero(tree.depths == 2)
    return int(deep[0]) if len(deep) else num_nodes(tree) - 1


def sibling_pair(tree: Any) -> tuple[int, int]:
    """Return the first two nodes with the same parent, the earlier one first."""
    for node in range(2, num_nodes(tree)):
        same = np.flatnonzero(tree.parents[1:node] == tree.parents[node]) + 1
        if len(same):
            return int(same[0]), node
    return 0, num_nodes(tree) - 1


def num_nodes(tree: Any) -> int:
    """Return how many nodes are no pads."""
    return int(tree.valid.sum()) if isinstance(tree, Tensorized) else len(tree.token_ids)


def another_parent(tree: Any, node: int) -> int:
    """Return a node at the depth of `node`'s parent that is not its parent; the root if there is none."""
    depth = int(tree.depths[node]) - 1
    others = [each for each in level(tree, depth) if each != tree.parents[node]]
    return others[0] if others else 0


def level(tree: Any, depth: int) -> list[int]:
    """Return the nodes of one depth, pads left out."""
    nodes: IntArray = np.flatnonzero(tree.depths[: num_nodes(tree)] == depth)
    return [int(node) for node in nodes]
