"""The tensors of one official EAGLE step as trace columns.

Each column is read from the tensor that the engine really uses for it, so that tensors which disagree are
seen by the rules: parents from `retrieve_indices` (what accept walks), `visible` from `tree_mask` (what
attention gets), depths and positions from `tree_position_ids` (what rotary gets). Nothing is repaired.
"""

from __future__ import annotations

import itertools
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracing.errors import ShapeMismatchError
from workbench.adapters.verify_rows import logit_columns

PAD: Final = -1
"""Ends the rows of `retrieve_indices` that are shorter than the longest."""
NO_PARENT: Final = -1
"""Recorded where `retrieve_indices` gives a node no parent, or two: the range rule reports it."""
Columns = dict[str, Any]


def tree_columns(
    *, draft_tokens: Any, retrieve_indices: Any, tree_mask: Any, tree_position_ids: Any, committed_len: int
) -> Columns:
    """Return the columns of draft, tensorize and what attention is given.

    Args:
        draft_tokens: Root, then the drafted tokens, int `[1, T]` or `[T]`.
        retrieve_indices: Node numbers from root to leaf, one row per leaf, ended by -1, int `[leaves, W]`.
        tree_mask: 1 where a row sees a column, `[1, 1, T, T]` or `[T, T]`.
        tree_position_ids: Depth of each node, int `[T]`.
        committed_len: L, the length that the engine adds to `tree_position_ids`.

    Raises:
        ShapeMismatchError: Tensors of other shapes.
    """
    tokens = _host(draft_tokens).reshape(-1)
    num_nodes = len(tokens)
    mask, depths = _host(tree_mask), _host(tree_position_ids).reshape(-1)
    if mask.size != num_nodes * num_nodes or len(depths) != num_nodes:
        raise ShapeMismatchError(
            f"tree_mask should be [1, 1, {num_nodes}, {num_nodes}] and tree_position_ids [{num_nodes}] for "
            f"{num_nodes} draft_tokens, got {list(mask.shape)} and {list(depths.shape)}"
        )
    rows = _rows(retrieve_indices)
    used = rows[rows != PAD]
    site = {"site": "retrieve_indices", "min": int(used.min()), "max": int(used.max()), "bound": num_nodes}
    return {
        "committed_len": committed_len,
        "token_ids": tokens,
        "parents": parents_from_rows(rows, num_nodes),
        "depths": depths,
        "valid": np.ones(num_nodes, dtype=np.bool_),
        "position_ids": committed_len + depths,
        "cache_positions": committed_len + np.arange(num_nodes),
        "visible": mask.reshape(num_nodes, num_nodes) != 0,
        "index_sites": [site],
    }


def parents_from_rows(rows: NDArray[Any], num_nodes: int) -> NDArray[np.int64]:
    """Return the parent of each node as the rows give it, `[T]`; `NO_PARENT` where they do not agree.

    Args:
        rows: `retrieve_indices`, `[leaves, W]`.
        num_nodes: T.
    """
    found: list[set[int]] = [set() for _ in range(num_nodes)]
    for row in rows.tolist():
        path = [node for node in row if node != PAD]
        for parent, node in itertools.pairwise(path):
            if 0 <= node < num_nodes:
                found[node].add(parent)
    parents = [next(iter(each)) if len(each) == 1 else NO_PARENT for each in found]
    if not found[0]:
        parents[0] = 0
    return np.array(parents, dtype=np.int64)


def verify_columns(tree_logits: Any, top_logits: int = 8) -> Columns:
    """Return choices and best logits of all nodes.

    Args:
        tree_logits: Logits of the tree's rows *before* they are gathered by `retrieve_indices`, `[1, T, V]`
            or `[T, V]`.
        top_logits: K to keep.
    """
    return logit_columns(tree_logits.reshape(-1, tree_logits.shape[-1]), top_logits)


def accept_columns(
    *,
    draft_tokens: Any,
    retrieve_indices: Any,
    best_candidate: int,
    accept_length: int,
    next_token: int,
    committed_len: int,
) -> Columns:
    """Return the columns of accept and commit.

    Args:
        draft_tokens: As in `tree_columns`.
        retrieve_indices: As in `tree_columns`.
        best_candidate: Row of `retrieve_indices` that was accepted.
        accept_length: Accepted drafts, the root not counted.
        next_token: The token after the accepted path; the next root.
        committed_len: L before the step.

    Raises:
        ShapeMismatchError: A row or a length that `retrieve_indices` does not have.
    """
    rows, tokens = _rows(retrieve_indices), _host(draft_tokens).reshape(-1)
    if not (0 <= best_candidate < len(rows) and 0 <= accept_length < rows.shape[1]):
        raise ShapeMismatchError(
            f"best_candidate and accept_length should name a place in retrieve_indices {list(rows.shape)}, "
            f"got {best_candidate} and {accept_length}"
        )
    path = rows[best_candidate, : accept_length + 1]
    emitted = [int(tokens[node]) if 0 <= node < len(tokens) else -1 for node in path[1:].tolist()]
    return {
        "accepted_nodes": path[1:],
        "final_token_id": next_token,
        "emitted_token_ids": np.array([*emitted, next_token], dtype=np.int64),
        "path_indices": committed_len + path,
        "committed_len_after": committed_len + accept_length + 1,
    }


def _rows(retrieve_indices: Any) -> NDArray[Any]:
    rows = _host(retrieve_indices)
    if rows.ndim != 2 or not (rows != PAD).any():
        raise ShapeMismatchError(f"retrieve_indices should be [leaves, width], got {list(rows.shape)}")
    return rows


def _host(values: Any) -> NDArray[Any]:
    """Return numpy; a torch tensor of any device is copied."""
    detached = values.detach().cpu().numpy() if hasattr(values, "detach") else values
    return np.asarray(detached)
