"""From a drafted tree to the static arrays of one step: lists first, arrays at the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracing.errors import UsageError
from tracing.stages import BoolArray, Drafted, Tensorized


def tensorize(drafted: Drafted, committed_len: int, tree_nodes: int) -> Tensorized:
    """Lay the tree out in N rows: valid nodes first, then pads.

    Args:
        drafted: n <= N nodes, parents before children.
        committed_len: L.
        tree_nodes: N; see `rows_for`.

    Raises:
        UsageError: More nodes than rows, or a node that does not come after its parent.
    """
    num_nodes = len(drafted.token_ids)
    if num_nodes > tree_nodes:
        raise UsageError(f"the drafted tree should have at most {tree_nodes} nodes, got {num_nodes}")
    parents = [int(parent) for parent in drafted.parents]
    if any(not 0 <= parent < max(node, 1) for node, parent in enumerate(parents)):
        raise UsageError(f"every node should come after its parent, got parents {parents}")
    num_pads = tree_nodes - num_nodes
    depths = [*depths_of(parents), *[0] * num_pads]
    if drafted.depths is not None:
        depths[:num_nodes] = (int(depth) for depth in drafted.depths)
    logprobs = None
    if drafted.logprobs is not None:
        logprobs = np.array([*drafted.logprobs, *[0.0] * num_pads], dtype=np.float32)
    return Tensorized(
        token_ids=np.array([*drafted.token_ids, *[0] * num_pads], dtype=np.int64),
        parents=np.array([*parents, *[0] * num_pads], dtype=np.int64),
        depths=np.array(depths, dtype=np.int64),
        valid=np.array([True] * num_nodes + [False] * num_pads, dtype=np.bool_),
        logprobs=logprobs,
        position_ids=np.array([committed_len + depth for depth in depths], dtype=np.int64),
        cache_positions=np.array([committed_len + row for row in range(tree_nodes)], dtype=np.int64),
        visible=ancestry(parents, tree_nodes),
        draft_law=drafted.draft_law,
    )


def rows_for(drafted: Drafted, tree_nodes: int) -> int:
    """Return N of a draft: that of the settings, but one row for the root alone."""
    return tree_nodes if len(drafted.token_ids) > 1 else 1


def depths_of(parents: Sequence[int]) -> list[int]:
    """Return the distance of each node from the root; parents come before their children."""
    depths = [0]
    for parent in parents[1:]:
        depths.append(depths[parent] + 1)
    return depths


def ancestry(parents: Sequence[int], num_rows: int) -> BoolArray:
    """Return `visible[query, key]` `[num_rows, num_rows]`: every node sees itself and its ancestors."""
    visible = np.zeros((num_rows, num_rows), dtype=np.bool_)
    for node in range(len(parents)):
        seen = node
        visible[node, seen] = True
        while seen != 0:
            seen = parents[seen]
            visible[node, seen] = True
    return visible
