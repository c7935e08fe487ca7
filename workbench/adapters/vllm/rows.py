"""One request of one launch as rows of the trace: plain arrays in, columns out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.adapters.vllm.launch import Planned, RequestEnd

Columns = dict[str, Any]
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """What the worker's hooks saw of one request in one launch; all on the host.

    Attributes:
        batch_row: Its place in the batch.
        kv_len, kv_len_host, committed: Lengths as the launch had them.
        token_ids, position_ids: `[Q]`, its query rows.
        tables: Block table per KV group, `[B]`, cut at the KV length.
        slots: Per KV group, `[Q]`.
        block_sizes: Of the kernel, per KV group.
        is_causal: The kernel was told so.
        launch: Columns that are the same for every request of the launch.
        proposed: Draft tokens as the drafter gave them, or None.
    """

    batch_row: int
    kv_len: int
    kv_len_host: int | None
    committed: int
    token_ids: Array
    position_ids: Array
    tables: tuple[Array, ...]
    slots: tuple[Array, ...]
    block_sizes: tuple[int, ...]
    is_causal: bool
    launch: Columns
    proposed: Array | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """What the sampler was given for one request.

    Attributes:
        top_ids, top_logits: `[S, K]`, best first, one row per sampled place.
        kind: `raw` or `masked`.
        choices_known: The best logit is what a greedy sampler takes.
        row: Columns of the request's sampling values.
    """

    top_ids: Array
    top_logits: Array
    kind: str
    choices_known: bool
    row: Columns

    def known(self, *, is_known: bool) -> Scored:
        """Return the same, and whether its best logit is the choice."""
        return replace(self, choices_known=is_known)


def rows_of(plan: Planned, seen: SeenRequest, scored: Scored | None, ended: RequestEnd) -> Iterator[Columns]:
    """Yield the rows of one request in one launch: its context rows first, then its step.

    A launch in which a preempted request resumes has both; the last chunk of a first prefill has no step.
    """
    num_query = len(seen.token_ids)
    is_step = plan.is_decode and not plan.is_chunk
    num_nodes = min(plan.num_drafts + 1, num_query) if is_step else 0
    num_context = num_query - num_nodes
    blocks = _block_columns(plan)
    if num_context:
        kind = "recompute" if plan.epoch else "prefill_chunk"
        yield {**context_row(seen, num_context, kind), **blocks}
        blocks = {"request_epoch": plan.epoch}
    if num_nodes:
        step = step_row(seen, num_context)
        if ended.is_withdrawn:
            yield {**_without_tree(step), "row_kind": "withdrawn", **blocks}
            return
        yield {**step, **blocks, **_scores(scored, num_nodes), **outcome(step["committed_len"], ended)}


def context_row(seen: SeenRequest, num_rows: int, kind: str) -> Columns:
    """Return the row of context tokens that a launch computes."""
    return {
        **_common(seen, slice(0, num_rows)),
        "row_kind": kind,
        "committed_len": seen.committed,
        "kv_len": seen.kv_len - (len(seen.token_ids) - num_rows),
        "query_len": num_rows,
    }


def step_row(seen: SeenRequest, first: int) -> Columns:
    """Return the row of a step whose chain begins at query row `first`."""
    rows = slice(first, len(seen.token_ids))
    num_nodes, length = len(seen.token_ids) - first, seen.committed + first
    node = np.arange(num_nodes)
    keys = seen.kv_len - num_nodes + node + 1 if seen.is_causal else np.full(num_nodes, seen.kv_len)
    columns = {
        **_common(seen, rows),
        "committed_len": length,
        "kv_len": seen.kv_len,
        "query_len": num_nodes,
        "parents": np.maximum(node - 1, 0),
        "depths": node,
        "visible": (length + node)[None, :] < keys[:, None],
        "prefix_visible": np.minimum(keys, length),
        "other_visible": np.maximum(keys - length - num_nodes, 0),
        "commit_mode": "length",
    }
    if seen.proposed is not None:
        columns["proposed_token_ids"] = seen.proposed
    return columns


def _common(seen: SeenRequest, rows: slice) -> Columns:
    slots = [np.asarray(group[rows], dtype=np.int64) for group in seen.slots]
    columns = {
        **seen.launch,
        "batch_row": seen.batch_row,
        "token_ids": seen.token_ids[rows],
        "position_ids": seen.position_ids[rows],
        "valid": np.ones(len(slots[0]), bool),
        "slots": slots[0],
        "cache_positions": logical_places(slots[0], seen.tables[0], seen.block_sizes[0]),
        "table_block_ids": filled(seen.tables),
    }
    if seen.kv_len_host is not None:
        columns["kv_len_host"] = seen.kv_len_host
    if len(slots) > 1:
        columns["group_slots"] = np.stack(slots)
    return columns


def logical_places(slots: Array, table: Array, block_size: int) -> Array:
    """Return the token place of each slot by the request's block table; -1 where no block holds it."""
    first_place = {int(block): at for at, block in reversed(list(enumerate(table)))}
    blocks, offsets = slots // block_size, slots % block_size
    at = np.array([first_place.get(int(block), -1) for block in blocks], dtype=np.int64)
    return np.where((slots < 0) | (at < 0), -1, at * block_size + offsets)


def filled(groups: Sequence[Sequence[int] | Array]) -> Array:
    """Return lists of block ids per group as `[G, B]`, filled up with -1."""
    width = max((len(group) for group in groups), default=0)
    table = np.full((len(groups), width), -1, dtype=np.int64)
    for row, group in zip(table, groups, strict=True):
        row[: len(group)] = group
    return table


def _block_columns(plan: Planned) -> Columns:
    columns: Columns = {"request_epoch": plan.epoch}
    if plan.blocks is not None and any(len(group) for group in plan.blocks):
        columns["block_ids"] = filled(plan.blocks)
    if plan.is_whole:
        columns["num_cached"] = plan.num_cached
    return columns


def _without_tree(step: Columns) -> Columns:
    left_out = {"parents", "depths", "visible", "prefix_visible", "other_visible", "commit_mode"}
    return {name: value for name, value in step.items() if name not in left_out}


def _scores(scored: Scored | None, num_nodes: int) -> Columns:
    if scored is None or len(scored.top_ids) != num_nodes:
        return {} if scored is None else dict(scored.row)
    columns = {
        **scored.row,
        "target_top_ids": scored.top_ids,
        "target_top_logits": scored.top_logits,
        "logits_kind": scored.kind,
    }
    if scored.choices_known:
        columns["target_token_ids"] = scored.top_ids[:, 0]
    return columns


def outcome(length: int, ended: RequestEnd) -> Columns:
    """Return the columns of acceptance and commit as the engine did them, and what the user got of it."""
    if not ended.sampled:
        return {"incomplete": "the engine's result has no tokens for this request"}
    accepted = len(ended.sampled) - 1
    columns: Columns = {
        "accepted_nodes": np.arange(1, accepted + 1),
        "final_token_id": ended.sampled[-1],
        "emitted_token_ids": np.array(ended.emitted, dtype=np.int64),
        "path_indices": length + np.arange(accepted + 1),
        "committed_len_after": ended.committed_after,
        "stop_reason": ended.stop_reason,
    }
    if len(ended.emitted) < len(ended.sampled):
        columns["discarded_token_ids"] = np.array(ended.sampled[len(ended.emitted) :], dtype=np.int64)
    if ended.logprobs is not None:
        columns["emitted_logprobs"] = np.array(ended.logprobs, dtype=np.float32)
    if ended.context:
        columns["context_token_ids"] = np.array(ended.context, dtype=np.int64)
    return columns
