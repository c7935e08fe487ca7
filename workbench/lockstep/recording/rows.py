"""The row of a step of a path: what its stages gave and its caches held."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracing.codec import row_columns
from tracing.digest import chain
from tracing.settings import DecodeSettings
from workbench.judge.turn_state import TurnState
from workbench.lockstep.engine.under_test import StepResults
from workbench.lockstep.recording.columns import tree_columns, verify_columns
from workbench.lockstep.recording.offsets import OffsetProbe
from workbench.lockstep.tensors.digests import feature_row_digests

Columns = dict[str, Any]


def path_columns(
    turn_state: TurnState, results: StepResults, settings: DecodeSettings, probe: OffsetProbe
) -> Columns:
    """Return the columns of what a path gave itself."""
    columns: Columns = {"committed_len": results.committed_len, "context_token_ids": turn_state.context}
    columns |= _draft(results, probe)
    columns |= _verify(results, settings)
    if results.accepted is not None and "accept" not in results.filled_by_reference:
        columns |= row_columns(results.accepted) | draw_columns(results)
    if results.committed is not None and "commit" not in results.filled_by_reference:
        columns |= row_columns(results.committed) | {"committed_len": results.committed_len}
    columns |= _cache(results)
    columns |= {f"{stage}_ns": elapsed for stage, elapsed in results.nanoseconds.items()}
    return columns


def _draft(results: StepResults, probe: OffsetProbe) -> Columns:
    drafted = results.drafted if results.own("draft") else None
    tensorized = results.tensorized if results.own("tensorize") else None
    columns = tree_columns(drafted, tensorized)
    if drafted is None or tensorized is None or drafted.flat_ids is None or drafted.top1_offsets is not None:
        return columns
    offsets = probe.take(drafted.flat_ids, len(tensorized.parents))
    return columns if offsets is None else columns | {"draft_top1_offsets": offsets}


def _verify(results: StepResults, settings: DecodeSettings) -> Columns:
    verified = results.verified
    if verified is None and results.tensorized is not None and "tensorize" not in results.filled_by_reference:
        return {"visible": results.tensorized.visible}  # what the refused launch was about to be given
    if verified is None or "verify" in results.filled_by_reference:
        return {}
    columns = verify_columns(verified, settings.top_logits)
    return columns | feature_columns(verified.features)


def ended_at_root(turn_state: TurnState) -> Columns:
    """Return what a row records of a turn that ended with its first token."""
    return {"stop_reason": turn_state.stop_reason, "incomplete": "ended at its root"}


def draw_columns(results: StepResults) -> Columns:
    """Return all uniforms of a step, in order of use, and where they are from; nothing in greedy decoding."""
    taken = [results.draws[stage] for stage in ("prefill", "draft", "accept") if stage in results.draws]
    if not taken:
        return {}
    columns: Columns = {"draws": np.concatenate(taken)}
    if results.draw_position is not None:
        columns |= {"row_seed": results.seed, "draw_position": results.draw_position}
    return columns


def feature_columns(features: Any) -> Columns:
    """Return the digests of tapped features; nothing where the drafter reads none."""
    return {"feature_row_digests": feature_row_digests(features)} if features.shape[-1] else {}


def _cache(results: StepResults) -> Columns:
    columns: Columns = {}
    if results.rows_before is not None:
        columns["kv_digest_before"] = chain(0, results.rows_before)
    if results.branch_rows is not None:
        columns["kv_row_digests"] = results.branch_rows
    if results.rows_after is not None:
        columns["kv_digest_after"] = chain(0, results.rows_after)
    return columns
