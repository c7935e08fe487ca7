"""From stage results to the judge's evidence: tensors become host arrays, rows get their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from reference.search import DraftTruth
from reference.teacher import TeacherRows
from tracing.settings import DecodeSettings
from tracing.stages import Accepted, IntArray, Prefilled, Tensorized
from workbench.judge.evidence import (
    AcceptEvidence,
    CommitEvidence,
    DraftEvidence,
    LevelTruth,
    PrefillEvidence,
    RowTruth,
    TensorizeEvidence,
    VerifyEvidence,
    VerifySide,
)
from workbench.lockstep.engine.under_test import StepResults
from workbench.lockstep.tensors.host import host_floats


def row_truth(fused: Any, reference: Sequence[Any], rows: IntArray | None = None) -> RowTruth:
    """Return one quantity; `reference` holds the truth first, then the samples."""
    truth, *samples = (host_floats(value) for value in reference)
    return RowTruth(
        fused=None if fused is None else host_floats(fused), truth=truth, samples=tuple(samples), rows=rows
    )


def feature_truth(fused: Any, reference: Sequence[Any]) -> RowTruth | None:
    """Return the tapped features; None where the drafter reads none."""
    return row_truth(fused, reference) if reference[0].shape[-1] else None


def prefill_evidence(
    prompt: Sequence[int],
    prefilled: Prefilled,
    prefill_kv: Any,
    reference: Sequence[TeacherRows],
    root: int,
) -> PrefillEvidence:
    """Prefill: the root and the reference's, the row that chose it, features and committed K and V."""
    return PrefillEvidence(
        prompt_token_ids=np.asarray(prompt, dtype=np.int64),
        fused_context_token_ids=prefilled.context_token_ids,
        reference_context_token_ids=np.array([*prompt, root], dtype=np.int64),
        logits=row_truth(prefilled.logits, [rows.logits[-1] for rows in reference]),
        features=feature_truth(prefilled.features, [rows.features for rows in reference]),
        kv=row_truth(prefill_kv, [rows.kv for rows in reference]),
    )


def draft_evidence(
    settings: DecodeSettings,
    target_from_draft: IntArray,
    root: int,
    results: StepResults,
    reference: Sequence[DraftTruth],
) -> DraftEvidence:
    """Draft: the tested path's search, and the true score of each of its beams."""
    evidence = DraftEvidence(
        settings=settings,
        root_token_id=root,
        fused=results.drafted,
        committed_len=results.committed_len,
        kv_lengths=results.drafter_lengths,
    )
    if not reference:
        return evidence
    truth, *samples = reference
    levels = tuple(
        LevelTruth(
            truth=host_floats(level.row_logprobs),
            samples=tuple(host_floats(sample.levels[number].row_logprobs) for sample in samples),
        )
        for number, level in enumerate(truth.levels)
    )
    kv = row_truth(results.drafter_kv, [one.committed_kv for one in reference])
    return replace(evidence, target_from_draft=target_from_draft, levels=levels, kv=kv)


def tensorize_evidence(
    num_rows: int, vocab_size: int, results: StepResults, reference: Tensorized | None
) -> TensorizeEvidence:
    """Tensorize: the static arrays of both sides."""
    return TensorizeEvidence(
        committed_len=results.committed_len,
        num_nodes=num_rows,
        vocab_size=vocab_size,
        drafted=results.drafted,
        fused=None if "tensorize" in results.filled_by_reference else results.tensorized,
        reference=reference,
    )


def verify_evidence(results: StepResults, reference: Sequence[TeacherRows]) -> VerifyEvidence:
    """Verify: rows of the valid nodes, and what the attention call was given."""
    tensorized, verified = results.tensorized, results.verified
    assert tensorized is not None
    assert verified is not None
    nodes = np.flatnonzero(tensorized.valid)
    truth = host_floats(reference[0].logits)
    has_features = reference[0].features.shape[-1] > 0

    def judged(fused: Any, of: Callable[[TeacherRows], Any], axis: int) -> RowTruth:
        picked = None if fused is None else np.take(host_floats(fused), nodes, axis)
        return row_truth(picked, [np.take(host_floats(of(rows)), nodes, axis) for rows in reference], nodes)

    return VerifyEvidence(
        committed_len=results.committed_len,
        valid=tensorized.valid,
        built_visible=tensorized.visible,
        fused=VerifySide(
            visible=verified.visible,
            prefix_visible=verified.prefix_visible,
            other_visible=verified.other_visible,
            target_token_ids=verified.target_token_ids,
        ),
        reference=VerifySide.of_reference(tensorized, results.committed_len, truth.argmax(-1)),
        logits=judged(verified.logits, lambda rows: rows.logits, 0),
        features=judged(verified.features, lambda rows: rows.features, 0) if has_features else None,
        kv=judged(results.node_kv, lambda rows: rows.kv, 3),
        rows_before=results.rows_before,
        rows_after=results.rows_verified,
    )


def accept_evidence(
    results: StepResults, remaining: int, eos_token_ids: frozenset[int], reference: Accepted
) -> AcceptEvidence:
    """Accept: the tested path's tree and choices, and what each side accepted."""
    tensorized, verified = results.tensorized, results.verified
    assert tensorized is not None
    assert verified is not None
    return AcceptEvidence(
        committed_len=results.committed_len,
        tree=tensorized,
        target_token_ids=verified.target_token_ids,
        remaining=remaining,
        eos_token_ids=eos_token_ids,
        fused=None if "accept" in results.filled_by_reference else results.accepted,
        reference=reference,
    )


def commit_evidence(results: StepResults) -> CommitEvidence:
    """Commit: digests of the tested path's own cache rows before, in the branch and after."""
    assert results.accepted is not None
    return CommitEvidence(
        committed_len=results.committed_len,
        path_indices=results.accepted.path_indices,
        committed=results.committed,
        rows_before=results.rows_before,
        branch_rows=results.branch_rows,
        rows_after=results.rows_after,
        lengths_after=results.lengths_after,
    )
