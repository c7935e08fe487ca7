"""Tensorize: the drafted tree as static arrays with a dummy root, an ancestor table and inert pads."""

from __future__ import annotations

import numpy as np

from tracing.errors import ContractError, UsageError
from tracing.stages import BoolArray, Drafted, IntArray, Tensorized
from workbench.fused.engine import Engine
from workbench.fused.state import FusedState


def tensorize(engine: Engine, state: FusedState, drafted: Drafted) -> Tensorized:
    """Pad the tree to N rows, root alone to one; pads have parent 0, depth 0, position L and see nothing.

    Raises:
        UsageError: More nodes than the tree may have.
        ContractError: A parent outside the tree.
    """
    committed_len = state.committed_len
    num_nodes = len(drafted.token_ids)
    num_rows = 1 if num_nodes == 1 else engine.settings.tree_nodes
    columns = {"committed_len": committed_len, "draft_parents": drafted.parents}
    state.watch.about_to_run("tensorize", columns)
    if num_nodes > num_rows:
        raise UsageError(f"the tree should have at most {num_rows} nodes, the drafter gave {num_nodes}")
    parents = _padded(drafted.parents, num_rows)
    depths = _padded(depths_from(drafted.parents) if drafted.depths is None else drafted.depths, num_rows)
    valid = np.arange(num_rows) < num_nodes
    logprobs = None
    if drafted.logprobs is not None:
        logprobs = np.zeros(num_rows, dtype=np.float32)
        logprobs[:num_nodes] = drafted.logprobs
    cache_positions = committed_len + np.arange(num_rows)
    max_depth = max(engine.settings.depth + 1, int(depths.max()))
    return Tensorized(
        token_ids=_padded(drafted.token_ids, num_rows, engine.pad_token_id),
        parents=parents,
        depths=depths,
        valid=valid,
        logprobs=logprobs,
        position_ids=committed_len + depths,
        cache_positions=cache_positions,
        visible=visible_from_ancestors(ancestor_table(parents, max_depth), valid),
        slots=state.caches.main_cache.slots(cache_positions),
        draft_law=drafted.draft_law,
    )


def ancestor_table(parents: IntArray, max_depth: int) -> IntArray:
    """Return A `[max_depth + 1, N]`: A[0] is the node, A[l + 1] the parent of A[l], in the end the root.

    Raises:
        ContractError: A parent outside 0..N-1, which no gather may follow.
    """
    _check_range(parents)
    table = np.empty((max_depth + 1, len(parents)), dtype=np.int64)
    table[0] = np.arange(len(parents))
    for level in range(max_depth):
        table[level + 1] = parents[table[level]]
    return table


def depths_from(parents: IntArray) -> IntArray:
    """Return the distance of each node from the root, `[n]`, for a drafter that does not give it.

    Raises:
        ContractError: A parent outside 0..n-1.
    """
    _check_range(parents)
    depths, above = np.zeros_like(parents), np.arange(len(parents))
    while above.any() and depths.max() < len(parents):
        depths += above != 0
        above = parents[above]
    return depths


def _check_range(parents: IntArray) -> None:
    if parents.min() < 0 or parents.max() >= len(parents):
        raise ContractError(
            operator="gather",
            rule="TREE-PARENT-RANGE",
            argument="parents",
            value=f"{int(parents.min())} to {int(parents.max())}",
            expected=f"0 to {len(parents) - 1}",
            device="reads outside the table, unchecked",
            source="arXiv 2603.08088 section 3.2, range invariant",
        )


def visible_from_ancestors(table: IntArray, valid: BoolArray) -> BoolArray:
    """Return `visible[query, key]`: the key is the query or an ancestor of it, and both are valid."""
    num_rows = table.shape[1]
    visible = np.zeros((num_rows, num_rows), dtype=np.bool_)
    visible[np.arange(num_rows), table] = True
    return visible & valid[:, None] & valid


def _padded(values: IntArray, num_rows: int, pad: int = 0) -> IntArray:
    """Return `values` with pads behind them, int64 `[N]`."""
    padded = np.full(num_rows, pad, dtype=np.int64)
    padded[: len(values)] = values
    return padded
