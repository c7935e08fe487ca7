"""Screens of topology, padding, positions and visibility."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from invariants.context import RunContext
from invariants.rule import BoolArray, IntArray
from invariants.screens.batch import Group

SMALL = 2**30
"""Lengths and places beyond this go to the loop, whose integers cannot overflow."""


def topology(group: Group, context: RunContext) -> BoolArray:
    """TREE001 to TREE005, TREE010, TREE011: range, depth below the parent's, closure, root, budget."""
    bad = np.zeros(group.size, dtype=np.bool_)
    if not group.has("parents"):
        return bad
    bad |= group.has("draft_parents")  # recorded where they differ
    parents, inside = _clipped(group)
    bad |= ~inside
    if not group.has("valid"):
        return bad
    valid = group["valid"]
    live = valid.copy()
    live[:, 0] = False
    bad |= (live & ~np.take_along_axis(valid, parents, 1)).any(axis=1)
    bad |= (parents[:, 0] != 0) | ~valid[:, 0]
    bad |= (live & (parents >= np.arange(group.num_nodes))).any(axis=1)
    if group.has("depths"):
        depths = group["depths"]
        bad |= (live & (depths - np.take_along_axis(depths, parents, 1) != 1)).any(axis=1) | (
            depths[:, 0] != 0
        )
        if context.max_tree_nodes is not None and context.max_tree_depth is not None:
            bad |= group.num_nodes > context.max_tree_nodes
            bad |= (valid & (depths > context.max_tree_depth)).any(axis=1)
    return bad


def _clipped(group: Group) -> tuple[IntArray, BoolArray]:
    """Return parents forced into range, and which steps did not need it."""
    parents = group["parents"]
    clipped = np.clip(parents, 0, group.num_nodes - 1)
    return clipped.astype(np.int64), (clipped == parents).all(axis=1)


def siblings(group: Group, _: RunContext) -> BoolArray:
    """TREE007: two valid nodes with the same parent and token."""
    if not group.has("parents", "valid", "token_ids"):
        return np.zeros(group.size, dtype=np.bool_)
    keys = (group["parents"].astype(np.int64) << 32) | (group["token_ids"].astype(np.int64) & 0xFFFFFFFF)
    alone = -1 - np.arange(group.num_nodes)
    exempt = ~group["valid"]
    exempt[:, 0] = True
    return twice(np.where(exempt, alone, keys))


def twice(keys: NDArray[Any]) -> BoolArray:
    """Return which rows of `[G, W]` hold a value twice."""
    ordered = np.sort(keys, axis=1)
    found: BoolArray = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    return found


def padding(group: Group, _: RunContext) -> BoolArray:
    """TREE008, TREE009: pads come last and hold zeros."""
    bad = np.zeros(group.size, dtype=np.bool_)
    if not group.has("valid"):
        return bad
    valid = group["valid"]
    bad |= (valid[:, 1:] & ~valid[:, :-1]).any(axis=1)
    if valid.all():
        return bad
    for name in ("parents", "depths", "draft_logprobs"):
        if group.has(name):
            bad |= (~valid & (group[name] != 0)).any(axis=1)
    if group.has("position_ids", "committed_len"):
        bad |= (~valid & (group["position_ids"] != group["committed_len"][:, None])).any(axis=1)
    return bad


def positions(group: Group, context: RunContext) -> BoolArray:
    """POS001 to POS004."""
    bad = np.zeros(group.size, dtype=np.bool_)
    if group.has("committed_len"):
        length = group["committed_len"].astype(np.int64)
        bad |= (length < 0) | (length > SMALL)
        if group.has("position_ids", "depths", "valid"):
            expected = length[:, None] + group["depths"]
            bad |= (group["valid"] & (group["position_ids"] != expected)).any(axis=1)
        if group.has("cache_positions"):
            places = group["cache_positions"]
            bad |= (places != length[:, None] + np.arange(places.shape[1])).any(axis=1)
    if group.has("position_ids", "valid") and context.max_positions is not None:
        bad |= _outside(group["position_ids"], context.max_positions, group["valid"])
    if group.has("cache_positions") and context.kv_capacity is not None:
        bad |= _outside(group["cache_positions"], context.kv_capacity)
    return bad


def _outside(values: IntArray, bound: int, where: BoolArray | None = None) -> BoolArray:
    """Return which rows have a value that is negative or not below the bound."""
    outside: Any = (values < 0) | (values >= bound)
    found: BoolArray = (outside if where is None else outside & where).any(axis=1)
    return found


def tokens(group: Group, context: RunContext) -> BoolArray:
    """IDX003, IDX004."""
    bad = np.zeros(group.size, dtype=np.bool_)
    if context.vocab_size is None:
        return bad
    if group.has("token_ids"):
        bad |= _outside(group["token_ids"], context.vocab_size)
    if group.has("target_token_ids", "valid"):
        bad |= _outside(group["target_token_ids"], context.vocab_size, group["valid"])
    return bad


def visibility(group: Group, _: RunContext) -> BoolArray:
    """MASK001 to MASK011: the tree block is the closure of parents over valid nodes, pads see nothing."""
    bad = np.zeros(group.size, dtype=np.bool_)
    if not group.has("valid"):
        return bad
    valid = group["valid"]
    if group.has("prefix_visible", "committed_len"):
        bad |= (valid & (group["prefix_visible"] != group["committed_len"][:, None])).any(axis=1)
    if group.has("other_visible"):
        bad |= (valid & (group["other_visible"] != 0)).any(axis=1)
    if group.has("visible", "parents"):
        expected = _one_hop_further(group["visible"], _clipped(group)[0], valid)
        bad |= (group["visible"] != expected).reshape(group.size, -1).any(axis=1)
    return bad


def _one_hop_further(visible: BoolArray, parents: IntArray, valid: BoolArray) -> BoolArray:
    """Return what each node should see if its parent's row is right: that row and itself, `[G, N, N]`.

    The root should see itself alone, and a pad nothing. Parents come before their children, or `topology`
    flags the step, so where every row is as it should be by its parent's, all are the path to the root.
    """
    size, num_nodes = parents.shape
    above = (parents + np.arange(size)[:, None] * num_nodes).reshape(-1)
    expected: BoolArray = visible.reshape(size * num_nodes, num_nodes).take(above, axis=0)
    expected.reshape(size, num_nodes, num_nodes)[:, 0] = False
    expected.reshape(size, -1)[:, :: num_nodes + 1] = True
    expected[~valid.reshape(-1)] = False
    return expected.reshape(visible.shape)
