"""Screens of logits, digests, slots and the drafter."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from invariants.context import RunContext
from invariants.rule import BoolArray
from invariants.rules.drafter import LOGPROB_SLACK
from invariants.screens.batch import Group
from invariants.screens.tree import twice


def logits(group: Group, _: RunContext) -> BoolArray:
    """LOGIT001 to LOGIT003.

    Where a row falls strictly from finite to finite its first id is the best; the others are looked at again.
    """
    bad = np.zeros(group.size, dtype=np.bool_)
    if not group.has("target_top_logits", "valid"):
        return bad
    table, valid = group["target_top_logits"], group["valid"]
    if not table.shape[2]:
        return bad
    firsts = table[:, :, 0]
    odd = ~(np.isfinite(firsts) & np.isfinite(table[:, :, -1]))
    for rank in range(1, table.shape[2]):
        odd |= ~(table[:, :, rank - 1] >= table[:, :, rank])
    if table.shape[2] > 1:
        odd |= firsts == table[:, :, 1]
    bad |= ((firsts == firsts[:, :1]) | ~valid).all(axis=1) & (np.count_nonzero(valid, axis=1) > 2)
    if not group.has("target_token_ids", "target_top_ids"):
        bad |= (odd & valid).any(axis=1)
        return bad
    if group["target_top_ids"].shape != table.shape:
        return np.ones(group.size, dtype=np.bool_)
    bad |= (valid & ~odd & (group["target_token_ids"] != group["target_top_ids"][:, :, 0])).any(axis=1)
    step, node = np.nonzero(odd & valid)
    return bad | _odd_rows(group, step, node)


def _odd_rows(group: Group, step: NDArray[Any], node: NDArray[Any]) -> BoolArray:
    """Judge rows with ties, in disorder or not finite exactly, `[G]`."""
    bad = np.zeros(group.size, dtype=np.bool_)
    if not len(step):
        return bad
    table, ids = group["target_top_logits"][step, node], group["target_top_ids"][step, node]
    best = table.max(axis=1, keepdims=True)
    expected = np.where(table == best, ids, np.iinfo(np.int64).max).min(axis=1)
    passed_over = (table == best).all(axis=1) & (table.shape[1] > 1)
    wrong = ~np.isfinite(table).all(axis=1)
    wrong |= ~passed_over & (group["target_token_ids"][step, node] != expected)
    bad[step[wrong]] = True
    return bad


def row_digests(group: Group, _: RunContext) -> BoolArray:
    """KV008, FEAT001, FEAT002: a digest that two live nodes share, in this step or with the one before."""
    bad = np.zeros(group.size, dtype=np.bool_)
    if not group.has("valid"):
        return bad
    if group.has("kv_row_digests"):
        bad |= twice(_live_digests(group, "kv_row_digests", ""))
    if group.has("feature_row_digests"):
        rows = _live_digests(group, "feature_row_digests", "")
        if group.has("previous_feature_row_digests", "previous_valid"):
            rows = np.concatenate([rows, _live_digests(group, "feature_row_digests", "previous_")], axis=1)
        bad |= twice(rows)
    return bad


def _live_digests(group: Group, name: str, when: str) -> NDArray[np.uint64]:
    """Return digests with pads replaced by numbers of their own, `[G, N]`."""
    digests, valid = group[when + name], group[when + "valid"]
    start = 0 if when else 2**32
    return np.where(valid, digests, np.arange(start, start + digests.shape[1], dtype=np.uint64))


def slots(group: Group, context: RunContext) -> BoolArray:
    """KV009 to KV012."""
    bad = np.zeros(group.size, dtype=np.bool_)
    if not group.has("slots", "valid"):
        return bad
    table, valid = group["slots"], group["valid"]
    bad |= (valid & (table < 0)).any(axis=1)
    if context.num_slots is not None:
        bad |= (valid & (table >= context.num_slots)).any(axis=1)
    rising = (table[:, 1:] > table[:, :-1]).all(axis=1)
    unordered = np.flatnonzero(~rising)
    if len(unordered):
        keys = np.where(table[unordered] < 0, -1 - np.arange(table.shape[1]), table[unordered])
        bad[unordered] |= twice(keys)
    if group.has("cache_positions") and context.block_size is not None:
        bad |= _off_block(group, context.block_size)
    if group.has("previous_slots", "previous_accepted_nodes"):
        old, kept = group["previous_slots"], group["previous_accepted_nodes"].lengths + 1
        for place in range(min(int(kept.max()), old.shape[1])):
            bad |= (place < kept) & (table == old[:, place : place + 1]).any(axis=1)
    return bad


def _off_block(group: Group, block_size: int) -> BoolArray:
    """KV011: place in the block, and neighbours in one logical block are neighbours in a physical one."""
    table, places, valid = group["slots"], group["cache_positions"], group["valid"]
    bad: BoolArray = (valid & (table % block_size != places % block_size)).any(axis=1)
    block, logical = table // block_size, places // block_size
    same = (logical[:, 1:] == logical[:, :-1]) & valid[:, 1:] & valid[:, :-1]
    bad |= (same & (block[:, 1:] != block[:, :-1])).any(axis=1)
    return bad


def drafts(group: Group, context: RunContext) -> BoolArray:
    """DRAFT001 to DRAFT005."""
    bad = np.zeros(group.size, dtype=np.bool_)
    if group.has("draft_logprobs", "valid"):
        scores, valid = group["draft_logprobs"], group["valid"]
        bad |= (valid & ~(np.isfinite(scores) & (scores <= LOGPROB_SLACK))).any(axis=1)
        bad |= ~(np.abs(scores[:, 0]) <= LOGPROB_SLACK)
        if group.has("parents"):
            parents = np.clip(group["parents"], 0, group.num_nodes - 1)
            above = np.take_along_axis(scores, parents, 1).astype(np.float64)
            bad |= (valid & ~(scores <= above + LOGPROB_SLACK)).any(axis=1)
    if group.has("beam_flat_ids") and context.top_k is not None:
        bad |= _beams(group, context.top_k)
    if group.has("draft_top1_offsets", "depths", "committed_len"):
        bad |= _offsets(group)
    if group.num_nodes > 4 and group.has("token_ids", "parents", "draft_logprobs"):
        bad |= _same_again(group)
    return bad


def _beams(group: Group, top_k: int) -> BoolArray:
    """DRAFT003."""
    beams = group["beam_flat_ids"]
    if beams.shape[1] % top_k:
        return np.ones(group.size, dtype=np.bool_)
    level = np.arange(beams.shape[1]) // top_k
    start = np.where(level == 0, 0, top_k + (level - 1) * top_k * top_k)
    stop = start + np.where(level == 0, top_k, top_k * top_k)
    bad: BoolArray = ((beams < start) | (beams >= stop)).any(axis=1) | twice(beams)
    return bad


def _offsets(group: Group) -> BoolArray:
    """DRAFT004."""
    table = group["draft_top1_offsets"]
    limit = group["committed_len"].astype(np.int64)[:, None] + group["depths"]
    wrong = (table < 0) | (table > limit[:, :, None])
    absent = group.absent_entries("draft_top1_offsets")
    if absent is not None:
        wrong &= ~absent
    bad: BoolArray = wrong.reshape(group.size, -1).any(axis=1)
    return bad


def _same_again(group: Group) -> BoolArray:
    """DRAFT005."""
    same = np.ones(group.size, dtype=np.bool_)
    for name in ("parents", "token_ids", "draft_logprobs"):
        old = group.get("previous_" + name)
        if old is None or old.shape != group[name].shape:
            return np.zeros(group.size, dtype=np.bool_)
        same &= (group[name][:, 1:] == old[:, 1:]).all(axis=1)
        if not same.any():
            break
    return same
