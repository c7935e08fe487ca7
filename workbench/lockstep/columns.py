"""Stage results as trace columns; one function per stage, the same for both paths."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from tracing.stages import Accepted, Committed, Drafted, Prefilled, Tensorized, Verified
from workbench.lockstep.host import host_floats

Columns = dict[str, Any]
_FOLDED: Final = 256
"""Maxima that a row of logits is folded to."""


def prefill_columns(prefilled: Prefilled) -> Columns:
    """Columns of prefill, for a turn's first step."""
    return {"context_token_ids": prefilled.context_token_ids}


def draft_columns(drafted: Drafted) -> Columns:
    """Columns of draft that stand before padding."""
    columns: Columns = {"proposer": drafted.proposer}
    if drafted.levels is not None:
        kept = [level.beam_flat_ids for level in drafted.levels[1:]]
        columns["beam_flat_ids"] = np.concatenate(kept) if kept else np.zeros(0, np.int64)
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
    }
    if tensorized.logprobs is not None:
        columns["draft_logprobs"] = tensorized.logprobs
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
    """Return the ids and values of the best `num_top` logits of each row, ties to the lower id.

    A row is folded to a few maxima. So many of them are at least as large as the last of the best of these
    maxima, that no logit below it can be among the best; only the few others are sorted.
    """
    recorded = as_recorded(logits)
    num_rows, width = recorded.shape
    num_top = min(num_top, width)
    num_folds = max(width // max(_FOLDED, num_top), 1)
    folded = width // num_folds
    maxima = recorded[:, : folded * num_folds].reshape(num_rows, num_folds, folded).max(axis=1)
    if not num_top or np.isnan(maxima).any():  # NaN is no maximum of its fold, and the last of its row
        order = np.argsort(-recorded, axis=1, kind="stable")[:, :num_top]
        return order, np.take_along_axis(recorded, order, axis=1)
    least = np.partition(maxima, folded - num_top, axis=1)[:, folded - num_top, None]
    at = np.flatnonzero(recorded >= least)
    rows, ids = np.divmod(at, width)
    values = recorded.reshape(-1)[at]
    best_first = np.lexsort((-values, rows))
    starts = np.searchsorted(rows, np.arange(num_rows))
    chosen = best_first[starts[:, None] + np.arange(num_top)]
    return ids[chosen], values[chosen]


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
