"""Screens of acceptance, stops, commit, index sites, and what one step hands to the next."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from invariants.context import RunContext
from invariants.rule import BoolArray
from invariants.rules.commit import COMMIT_MODES
from invariants.rules.row import EVERY_STEP
from invariants.screens.batch import Group, Ragged
from tracing.digest import ODD_PRIME


def _none(group: Group) -> BoolArray:
    return np.zeros(group.size, dtype=np.bool_)


def _at(table: NDArray[Any], step: NDArray[Any], node: NDArray[Any]) -> NDArray[Any]:
    """Return entries of `[G, N]`, with nodes forced into range; whoever is forced is flagged elsewhere."""
    entries: NDArray[Any] = table[step, np.clip(node, 0, table.shape[1] - 1)]
    return entries


def path(group: Group, _: RunContext) -> BoolArray:
    """ACC001, ACC002."""
    if not group.has("accepted_nodes", "parents", "valid"):
        return _none(group)
    accepted: Ragged = group["accepted_nodes"]
    node, step = accepted.values.astype(np.int64), accepted.owner
    above = np.roll(node, 1)
    above[accepted.place == 0] = 0
    wrong = (node <= 0) | (node >= group.num_nodes) | ~_at(group["valid"], step, node)
    wrong |= _at(group["parents"], step, node) != above
    if group.has("token_ids", "target_token_ids"):
        wrong |= _at(group["token_ids"], step, node) != _at(group["target_token_ids"], step, above)
    return accepted.any_step(wrong)


def end_of_path(group: Group, _: RunContext) -> BoolArray:
    """ACC003, ACC004: no child carries the choice after the last node, and the final token is that choice."""
    if not group.has("accepted_nodes", "target_token_ids"):
        return _none(group)
    last = group["accepted_nodes"].last(0)
    choice = _at(group["target_token_ids"], np.arange(group.size), last)
    bad = _none(group)
    if group.has("final_token_id"):
        bad |= group["final_token_id"] != choice
    if group.has("parents", "token_ids", "valid") and not group.has("stop_reason"):
        below = group["valid"] & (group["parents"] == last[:, None]) & (group["token_ids"] == choice[:, None])
        bad |= below[:, 1:].any(axis=1)
    return bad


def emitted(group: Group, context: RunContext) -> BoolArray:
    """ACC005, ACC006, ACC007."""
    bad = _none(group)
    eos = None if context.eos_token_ids is None else np.array(sorted(context.eos_token_ids), dtype=np.int64)
    if group.has("emitted_token_ids"):
        out: Ragged = group["emitted_token_ids"]
        is_last = out.place == out.lengths[out.owner] - 1
        if eos is not None:
            bad |= out.any_step(~is_last & np.isin(out.values, eos))
        if group.has("accepted_nodes", "token_ids", "final_token_id"):
            accepted: Ragged = group["accepted_nodes"]
            bad |= out.lengths != accepted.lengths + 1
            node = np.zeros(len(out.values), dtype=np.int64)
            aligned = ~bad[out.owner] & ~is_last
            node[aligned] = accepted.values[(accepted.starts[out.owner] + out.place)[aligned]]
            spoken = _at(group["token_ids"], out.owner, node)
            expected = np.where(is_last, group["final_token_id"][out.owner], spoken)
            bad |= out.any_step(out.values != expected)
    if eos is not None and group.has("final_token_id"):
        ends = np.isin(group["final_token_id"], eos)
        bad |= _stops(group, ends)
    return bad


def _stops(group: Group, ends: BoolArray) -> BoolArray:
    """ACC007."""
    if not group.has("stop_reason"):
        return ends
    reasons = group["stop_reason"]
    bad: BoolArray = ((reasons == "eos") & ~ends) | ((reasons != "eos") & (reasons != "length"))
    return bad


def commit(group: Group, context: RunContext) -> BoolArray:
    """KV001, KV002, KV003, KV006, KV007."""
    bad = _none(group)
    if group.has("accepted_nodes", "committed_len"):
        accepted: Ragged = group["accepted_nodes"]
        length = group["committed_len"].astype(np.int64)
        if group.has("committed_len_after"):
            bad |= group["committed_len_after"] != length + accepted.lengths + 1
        if group.has("path_indices"):
            bad |= _wrong_indices(group["path_indices"], accepted, length)
    if group.has("prefix_kept"):
        bad |= ~group["prefix_kept"].astype(np.bool_)
    if group.has("commit_mode"):
        modes = group["commit_mode"]
        if group.has("accepted_nodes"):
            accepted = group["accepted_nodes"]
            bad |= (modes == "length") & accepted.any_step(accepted.values != accepted.place + 1)
        if context.asked_commit_mode is not None:
            silent = _none(group)
            silent |= (group["commit_fallback"] == "") if group.has("commit_fallback") else True
            bad |= ~np.isin(modes.astype(str), COMMIT_MODES) | (
                (modes != context.asked_commit_mode) == silent
            )
    return bad


def _wrong_indices(indices: Ragged, accepted: Ragged, length: NDArray[Any]) -> BoolArray:
    """KV002."""
    bad: BoolArray = indices.lengths != accepted.lengths + 1
    node = np.zeros(len(indices.values), dtype=np.int64)
    aligned = ~bad[indices.owner] & (indices.place > 0)
    node[aligned] = accepted.values[(accepted.starts[indices.owner] + indices.place - 1)[aligned]]
    return bad | indices.any_step(indices.values != length[indices.owner] + node)


def digests(group: Group, _: RunContext) -> BoolArray:
    """KV004, KV005."""
    bad = _none(group)
    if group.has("kv_digest_before", "previous_kv_digest_after"):
        bad |= group["kv_digest_before"] != group["previous_kv_digest_after"]
    if group.has("kv_digest_before", "kv_digest_after", "kv_row_digests", "accepted_nodes"):
        rows, accepted = group["kv_row_digests"], group["accepted_nodes"]
        prime = np.uint64(ODD_PRIME)
        state = group["kv_digest_before"].astype(np.uint64) * prime + rows[:, 0]
        for place in range(int(accepted.lengths.max(initial=0))):
            goes_on = np.flatnonzero(accepted.lengths > place)
            node = accepted.values[accepted.starts[goes_on] + place]
            state[goes_on] = state[goes_on] * prime + _at(rows, goes_on, node)
        bad |= state != group["kv_digest_after"]
    return bad


def sites(group: Group, _: RunContext) -> BoolArray:
    """IDX001, IDX002."""
    bad = _none(group)
    if group.has("index_sites.min", "index_sites.max", "index_sites.bound"):
        lowest, highest, bound = (group[f"index_sites.{field}"] for field in ("min", "max", "bound"))
        bad |= lowest.any_step(lowest.values < 0) | highest.any_step(highest.values >= bound.values)
    return bad


def between_steps(group: Group, context: RunContext) -> BoolArray:
    """STEP001 to STEP005, ROW002, ROW003."""
    bad = _none(group)
    if group.has("incomplete"):
        bad |= True
    if any(group.has(f"previous_{name}") and not group.has(name) for name in EVERY_STEP):
        bad |= True
    if group.has("step", "previous_step"):
        bad |= group["step"] != group["previous_step"] + 1
    if group.has("previous_stop_reason"):
        bad |= True
    if group.has("previous_final_token_id"):
        if context.eos_token_ids:
            bad |= np.isin(group["previous_final_token_id"], sorted(context.eos_token_ids))
        if group.has("token_ids"):
            bad |= group["token_ids"][:, 0] != group["previous_final_token_id"]
    if group.has("committed_len", "previous_committed_len_after"):
        bad |= group["committed_len"] != group["previous_committed_len_after"]
    if group.has("context_token_ids", "token_ids", "committed_len"):
        prompt: Ragged = group["context_token_ids"]
        bad |= (prompt.lengths == 0) | (group["committed_len"] != prompt.lengths - 1)
        bad |= prompt.last(-1) != group["token_ids"][:, 0]
    return bad
