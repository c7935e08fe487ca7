"""The two rows of a step: what the path under test gave, and what the reference made of the same values."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracing.codec import row_columns
from tracing.digest import chain
from tracing.settings import DecodeSettings
from tracing.stages import Tensorized
from workbench.judge.turn_state import TurnState
from workbench.lockstep.columns import as_recorded, top_logits_of, tree_columns, verify_columns
from workbench.lockstep.digests import feature_row_digests
from workbench.lockstep.host import host_floats
from workbench.lockstep.judging import ReferenceStep
from workbench.lockstep.offsets import OffsetProbe
from workbench.lockstep.run_log import RunLog
from workbench.lockstep.under_test import StepResults

Columns = dict[str, Any]


def record_fused(
    log: RunLog, turn_state: TurnState, results: StepResults, settings: DecodeSettings, probe: OffsetProbe
) -> None:
    """Record what the path gave, as far as the step came; results of the reference are not its columns."""
    log.record("fused", path_columns(turn_state, results, settings, probe))


def path_columns(
    turn_state: TurnState, results: StepResults, settings: DecodeSettings, probe: OffsetProbe
) -> Columns:
    """Return the columns of what a path gave itself."""
    columns: Columns = {"committed_len": results.committed_len, "context_token_ids": turn_state.context}
    columns |= _draft(results, probe)
    columns |= _verify(results, settings)
    if results.accepted is not None and "accept" not in results.filled_by_reference:
        columns |= row_columns(results.accepted)
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
    offsets = probe.over_nodes(drafted.flat_ids, len(tensorized.parents))
    return columns if offsets is None else columns | {"draft_top1_offsets": offsets}


def _verify(results: StepResults, settings: DecodeSettings) -> Columns:
    verified = results.verified
    if verified is None and results.tensorized is not None and "tensorize" not in results.filled_by_reference:
        return {"visible": results.tensorized.visible}  # what the refused launch was about to be given
    if verified is None or "verify" in results.filled_by_reference:
        return {}
    columns = verify_columns(verified, settings.top_logits)
    return columns | feature_columns(verified.features)


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


def record_reference(
    log: RunLog,
    turn_state: TurnState,
    results: StepResults,
    reference: ReferenceStep | None,
    settings: DecodeSettings,
) -> None:
    """Record what the reference made of the values it was fed; nothing on a step that was not judged."""
    if reference is None:
        log.record("reference", {"incomplete": "this step was not judged, as asked"})
        return
    columns: Columns = {"committed_len": results.committed_len, "context_token_ids": turn_state.context}
    if reference.tensorized is not None:
        columns |= row_columns(reference.tensorized)
        columns |= _reference_draft(reference, reference.tensorized)
    if reference.verified:
        columns |= _reference_verify(reference, results, settings)
    log.record("reference", columns | _reference_accept(reference, results))


def _reference_accept(reference: ReferenceStep, results: StepResults) -> Columns:
    """The path over the path's choices; left out where a near tie makes them differ from the row's own."""
    if reference.accepted is None or results.verified is None or results.tensorized is None:
        return {}
    columns: Columns = {"committed_len_after": results.committed_len + len(reference.accepted.path_indices)}
    if reference.verified:
        own = as_recorded(host_floats(reference.verified[0].logits)).argmax(-1)
        valid, chosen = results.tensorized.valid, results.verified.target_token_ids
        # A tested path's arrays may have any length; then it is a finding, and nothing here to compare.
        if chosen.shape != valid.shape or not np.array_equal(own[valid], chosen[valid]):
            return columns
    return columns | row_columns(reference.accepted)


def _reference_draft(reference: ReferenceStep, tensorized: Tensorized) -> Columns:
    drafted = reference.drafted
    if drafted is None:
        return {}
    columns = row_columns(drafted)
    if drafted.logprobs is not None:
        logprobs = np.zeros(len(tensorized.parents), dtype=np.float32)
        logprobs[: len(drafted.logprobs)] = drafted.logprobs
        columns["draft_logprobs"] = logprobs
    return columns if reference.offsets is None else columns | {"draft_top1_offsets": reference.offsets}


def _reference_verify(reference: ReferenceStep, results: StepResults, settings: DecodeSettings) -> Columns:
    tensorized = reference.tensorized
    assert tensorized is not None
    truth = reference.verified[0]
    logits = host_floats(truth.logits)
    top_ids, top_logits = top_logits_of(logits, settings.top_logits)
    return {
        "visible": tensorized.visible,
        "prefix_visible": np.where(tensorized.valid, results.committed_len, 0),
        "other_visible": np.zeros(len(tensorized.valid), dtype=np.int64),
        "target_token_ids": as_recorded(logits).argmax(-1),
        "target_top_ids": top_ids,
        "target_top_logits": top_logits,
        "kernel": "reference",
    } | feature_columns(truth.features)
