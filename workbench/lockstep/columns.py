"""Stage results as trace columns; one function per stage, the same for both paths."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tracing.stages import Accepted, Committed, Drafted, Prefilled, Tensorized, Verified
from workbench.lockstep.host import host_floats

Columns = dict[str, Any]


def prefill_columns(prefilled: Prefilled) -> Columns:
    """Columns of prefill, for a turn's first step."""
    return {"context_token_ids": prefilled.context_token_ids}


def draft_columns(drafted: Drafted) -> Columns:
    """Columns of draft that stand before padding."""
    kept = [level.beam_flat_ids for level in drafted.levels[1:]]
    columns: Columns = {
        "proposer": drafted.proposer,
        "beam_flat_ids": np.concatenate(kept) if kept else np.zeros(0, np.int64),
    }
    return columns


def tensorize_columns(drafted: Drafted | None, tensorized: Tensorized) -> Columns:
    """Columns of tensorize, and those of draft that are recorded over all N rows."""
    columns: Columns = {
        "token_ids": tensorized.token_ids,
        "parents": tensorized.parents,
        "depths": tensorized.depths,
        "valid": tensorized.valid,
        "position_ids": tensorized.position_ids,
        "cache_positions": tensorized.cache_positions,
        "draft_logprobs": tensorized.logprobs,
    }
    if tensorized.slots is not None:
        columns["slots"] = tensorized.slots
    if drafted is not None:
        columns |= _draft_over_nodes(drafted, tensorized)
    return columns


def _draft_over_nodes(drafted: Drafted, tensorized: Tensorized) -> Columns:
    columns: Columns = {}
    num_drafted = len(drafted.parents)
    if not np.array_equal(drafted.parents, tensorized.parents[:num_drafted]):
        columns["draft_parents"] = drafted.parents
    if drafted.top1_offsets is not None:
        num_heads = drafted.top1_offsets.shape[1]
        offsets = np.ma.MaskedArray(np.zeros((len(tensorized.parents), num_heads), np.int32), mask=True)
        offsets[:num_drafted] = drafted.top1_offsets
        columns["draft_top1_offsets"] = offsets
    return columns


def verify_columns(verified: Verified, num_top: int) -> Columns:
    """Columns of verify; `num_top` logits per node, best first, ties to the lower id."""
    logits = host_floats(verified.logits)
    top_ids, top_logits = top_logits_of(logits, num_top)
    return {
        "visible": verified.visible,
        "prefix_visible": verified.prefix_visible,
        "other_visible": verified.other_visible,
        "target_token_ids": verified.target_token_ids,
        "target_top_ids": top_ids,
        "target_top_logits": top_logits,
        "kernel": verified.kernel,
    }


def top_logits_of(logits: Any, num_top: int) -> tuple[Any, Any]:
    """Return the ids and values of the best `num_top` logits of each row, ties to the lower id."""
    recorded = as_recorded(logits)
    num_top = min(num_top, recorded.shape[1])
    found = torch.from_numpy(recorded).topk(min(num_top + 1, recorded.shape[1]))
    ranked = found.values.numpy()
    best = np.sort(found.indices.numpy()[:, :num_top], axis=1)
    values = np.take_along_axis(recorded, best, axis=1)
    order = np.take_along_axis(best, np.argsort(-values, axis=1, kind="stable"), axis=1)
    # Where the last place is tied, or a logit is NaN, only the sort of a whole row knows the lower id.
    tied = np.isnan(ranked).any(axis=1) | (ranked[:, num_top - 1 : -1] == ranked[:, num_top:]).any(axis=1)
    order[tied] = np.argsort(-recorded[tied], axis=1, kind="stable")[:, :num_top]
    return order, np.take_along_axis(recorded, order, axis=1)


def as_recorded(logits: Any) -> Any:
    """Round logits to float32, as a trace keeps them: choices by wider ones would not follow from the row."""
    return logits.astype(np.float32, copy=False)


def accept_columns(accepted: Accepted) -> Columns:
    """Columns of accept."""
    return {
        "accepted_nodes": accepted.accepted_nodes,
        "final_token_id": accepted.final_token_id,
        "emitted_token_ids": accepted.emitted_token_ids,
        "stop_reason": accepted.stop_reason,
        "path_indices": accepted.path_indices,
    }


def commit_columns(committed: Committed) -> Columns:
    """Columns of commit."""
    return {
        "committed_len": committed.committed_len,
        "committed_len_after": committed.committed_len_after,
        "commit_mode": committed.commit_mode,
        "commit_fallback": committed.commit_fallback,
        "prefix_kept": committed.prefix_kept,
    }
