"""Tensors of one verified batch as columns of each request: arrays in, columns out, nothing repaired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Columns = dict[str, Any]
Array = NDArray[Any]
NONE: Final = -1
"""No child, no sibling, no further accepted node; recorded as a parent where the links give none or two."""


@dataclass(frozen=True, slots=True)
class VerifiedBatch:
    """What one verification was given and gave, on the host. B requests, T nodes each.

    Attributes:
        seq_lens: `[B]`, committed tokens before.
        tokens, positions, slots: `[B * T]`.
        mask: Flat, as the attention takes it, or one word of bits for each node.
        links: Index, first child and next sibling of each node, `[3, B, T]`.
        top_ids, top_logits: `[B * T, K]`, after penalties, bias and grammar.
        predict: `[B * T]`, tokens at accepted nodes.
        accept_index: `[B, D]`, accepted nodes of the whole batch, root first, then -1.
        accept_lens: `[B]`, with the root.
        logits_kind: `raw`, `masked` or `processed`.
        is_greedy: Every request takes the best logit.
        is_compacted: Accepted rows are moved to the front of a request's slots.
    """

    seq_lens: Array
    tokens: Array
    positions: Array
    slots: Array
    mask: Array
    links: Array
    top_ids: Array
    top_logits: Array
    predict: Array
    accept_index: Array
    accept_lens: Array
    logits_kind: str
    is_greedy: bool
    is_compacted: bool

    @property
    def num_nodes(self) -> int:
        """T."""
        return int(self.links.shape[2])

    @property
    def num_requests(self) -> int:
        """B."""
        return len(self.seq_lens)


def tree_columns(batch: VerifiedBatch, row: int) -> Columns:
    """Return tree, positions, slots and what the attention of a request was given."""
    num, length = batch.num_nodes, int(batch.seq_lens[row])
    nodes = slice(row * num, (row + 1) * num)
    index, first_child, next_sibling = batch.links[:, row]
    positions = batch.positions[nodes]
    site = {
        "site": "retrieve_index",
        "min": int(index.min()),
        "max": int(index.max()),
        "bound": (row + 1) * num,
    }
    columns: Columns = {
        "committed_len": length,
        "kv_len": length + num,
        "query_len": num,
        "token_ids": batch.tokens[nodes],
        "parents": parents_of(first_child, next_sibling),
        "depths": positions - length,
        "valid": np.ones(num, dtype=np.bool_),
        "position_ids": positions,
        "cache_positions": length + np.arange(num),
        "slots": batch.slots[nodes],
        "index_sites": [site],
    }
    visible = visible_of(batch, row)
    return columns if visible is None else {**columns, "visible": visible}


def parents_of(first_child: Array, next_sibling: Array) -> Array:
    """Return the parent of each node as its links give it, `[T]`."""
    num = len(first_child)
    found: list[set[int]] = [set() for _ in range(num)]
    for parent in range(num):
        child, steps = int(first_child[parent]), 0
        while 0 <= child < num and steps < num:  # links in a ring end
            found[child].add(parent)
            child, steps = int(next_sibling[child]), steps + 1
    parents = [next(iter(each)) if len(each) == 1 else NONE for each in found]
    if not found[0]:
        parents[0] = 0
    return np.array(parents, dtype=np.int64)


def visible_of(batch: VerifiedBatch, row: int) -> Array | None:
    """Return who sees whom of a request's nodes, `[T, T]`; None for a mask of no known form.

    A mask holds the prefix's columns too (`FULL_MASK`), the tree's alone (`QLEN_ONLY`), or a word of bits for
    each node. Columns of the prefix are not read: the engine leaves them unset where its attention does not
    read them.
    """
    num, size = batch.num_nodes, batch.mask.size
    if batch.mask.dtype != np.bool_:
        if size != batch.num_requests * num or batch.mask.dtype.itemsize * 8 < num:
            return None
        words = batch.mask.reshape(-1, num)[row].astype(np.uint64)
        bits: Array = (words[:, None] >> np.arange(num, dtype=np.uint64)) & np.uint64(1)
        return np.asarray(bits == 1)
    if size == batch.num_requests * num * num:
        return np.asarray(batch.mask.reshape(-1, num, num)[row])
    lengths = batch.seq_lens.astype(np.int64)
    if size < int(lengths.sum()) * num + batch.num_requests * num * num:
        return None
    start = int(lengths[:row].sum()) * num + row * num * num
    width = int(lengths[row]) + num
    return np.asarray(batch.mask[start : start + num * width].reshape(num, width)[:, -num:])


def verified_columns(batch: VerifiedBatch, row: int) -> Columns:
    """Return logits and choices of a request's nodes."""
    num = batch.num_nodes
    nodes = slice(row * num, (row + 1) * num)
    columns: Columns = {
        "target_top_ids": batch.top_ids[nodes],
        "target_top_logits": batch.top_logits[nodes],
        "logits_kind": batch.logits_kind,
    }
    return {**columns, "target_token_ids": batch.top_ids[nodes, 0]} if batch.is_greedy else columns


def accepted_columns(batch: VerifiedBatch, row: int, num_emitted: int, stop_reason: str | None) -> Columns:
    """Return what was accepted and committed, and how much of it the user got.

    Args:
        batch: The batch.
        row: Of the request.
        num_emitted: Tokens that the scheduler added to the request's text.
        stop_reason: As the trace has it, or None.
    """
    num, length, count = batch.num_nodes, int(batch.seq_lens[row]), int(batch.accept_lens[row])
    flat = batch.accept_index[row, :count].astype(np.int64)
    inside = flat[(flat >= 0) & (flat < len(batch.predict))]
    if len(inside) != count or not count:
        return {"incomplete": f"accept_index gives {flat.tolist()} for {count} accepted rows"}
    local, committed = flat - row * num, batch.predict[flat].astype(np.int64)
    columns: Columns = {
        "accepted_nodes": local[1:],
        "final_token_id": int(committed[-1]),
        "emitted_token_ids": committed[:num_emitted],
        "path_indices": length + local,
        "committed_len_after": length + count,
        "commit_mode": "full_reorder" if batch.is_compacted else "length",
        "stop_reason": stop_reason,
    }
    if num_emitted < count:
        columns["discarded_token_ids"] = committed[num_emitted:]
    return columns
