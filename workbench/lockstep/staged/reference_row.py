"""The reference's row of a judged step: its results on the values it was fed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tracing.codec import row_columns
from tracing.settings import DecodeSettings
from tracing.stages import Tensorized
from workbench.judge.turn_state import TurnState
from workbench.lockstep.engine.under_test import StepResults
from workbench.lockstep.recording.columns import as_recorded, verify_columns
from workbench.lockstep.recording.rows import Columns, draw_columns, feature_columns
from workbench.lockstep.recording.run_log import RunLog
from workbench.lockstep.staged.evidence import ReferenceStep
from workbench.lockstep.tensors.host import host_floats
from workbench.lockstep.truth.reference_fill import verified_of


def record_reference(
    log: RunLog,
    turn_state: TurnState,
    results: StepResults,
    reference: ReferenceStep | None,
    settings: DecodeSettings,
) -> None:
    """Record the reference's results on the values it was fed; none on a step that was not judged."""
    if reference is None:
        log.record("reference", {"incomplete": "this step was not judged, as asked"})
        return
    columns: Columns = {"committed_len": results.committed_len, "context_token_ids": turn_state.context}
    if reference.tensorized is not None:
        columns |= row_columns(reference.tensorized)
        columns |= _reference_draft(reference, reference.tensorized)
    if reference.verified and reference.tensorized is not None:
        columns |= _reference_verify(reference, results, settings)
    log.record("reference", columns | _reference_accept(reference, results))


def _reference_accept(reference: ReferenceStep, results: StepResults) -> Columns:
    """The path over the path's choices; left out where a near tie makes them differ from the row's own."""
    if reference.sampled is None or results.verified is None or results.tensorized is None:
        return {}
    accepted = reference.sampled.accepted
    columns: Columns = {"committed_len_after": results.committed_len + len(accepted.path_indices)}
    if reference.verified:
        own = as_recorded(host_floats(reference.verified[0].logits)).argmax(-1)
        valid, chosen = results.tensorized.valid, results.verified.target_token_ids
        # A tested path's arrays may have any length; then it is a finding, and nothing here to compare.
        if chosen.shape != valid.shape or not np.array_equal(own[valid], chosen[valid]):
            return columns
    return columns | row_columns(accepted) | draw_columns(results)


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
    verified = verified_of(reference.verified[0], tensorized, results.committed_len)
    own = as_recorded(host_floats(verified.logits)).argmax(-1)
    columns = verify_columns(replace(verified, target_token_ids=own), settings.top_logits)
    return columns | feature_columns(verified.features)
