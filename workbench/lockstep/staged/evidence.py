"""From stage results to the judge's evidence: tensors become host arrays, rows get their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from reference.drafters.seam import DraftScore
from reference.search import DraftTruth
from reference.teacher import TeacherRows
from tracing.settings import DecodeSettings
from tracing.stages import Accepted, Drafted, DraftLevel, IntArray, Prefilled, Tensorized
from workbench.judge.draft_nodes import DraftNodes
from workbench.judge.evidence import (
    AcceptEvidence,
    CommitEvidence,
    DraftEvidence,
    LevelTruth,
    NodeTruth,
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
    reference: Sequence[DraftTruth] | Sequence[DraftScore],
) -> DraftEvidence:
    """Draft: the tested path's tree, and the true score of each of its beams, or of each node."""
    evidence = DraftEvidence(
        settings=settings,
        root_token_id=root,
        fused=results.drafted,
        committed_len=results.committed_len,
        kv_lengths=results.drafter_lengths,
    )
    if not reference:
        return evidence
    own_kv = [one.committed_kv for one in reference if one.committed_kv is not None]
    return replace(
        evidence,
        target_from_draft=target_from_draft,
        kv=row_truth(results.drafter_kv, own_kv) if own_kv else None,
        **_draft_truth(reference),
    )


def _draft_truth(reference: Sequence[DraftTruth] | Sequence[DraftScore]) -> dict[str, Any]:
    """Return the rows of a search, level by level, or those that proposed the nodes of another draft."""
    if isinstance(truth := reference[0], DraftScore):
        scores = [one for one in reference if isinstance(one, DraftScore)]
        laws = [one.law for one in scores if one.law is not None]
        rows = level_truth([one.logprobs for one in scores])
        law = level_truth(laws) if laws else None
        return {"nodes": NodeTruth(rows=rows, row_of=np.asarray(truth.row_of), law=law)}
    searches = [one for one in reference if isinstance(one, DraftTruth)]
    levels = (
        level_truth([one.levels[number].row_logprobs for one in searches])
        for number in range(len(truth.levels))
    )
    return {"levels": tuple(levels)}


def level_truth(reference: Sequence[Any]) -> LevelTruth:
    """Return rows over the draft vocabulary; `reference` holds the truth first, then the samples."""
    truth, *samples = map(host_floats, reference)
    return LevelTruth(truth=truth, samples=tuple(samples))


def by_truth(drafted: Drafted, truth: DraftTruth | DraftScore, target_from_draft: IntArray) -> Drafted | None:
    """Return the path's beams and nodes with the reference's own scores; None where they make no sense."""
    if isinstance(truth, DraftScore):
        rows = host_floats(truth.logprobs)
        nodes = DraftNodes.of(drafted.token_ids, drafted.parents, target_from_draft)
        return replace(drafted, logprobs=nodes.cumulative(rows, truth.row_of).astype(np.float32))
    levels = _rescored(drafted.levels or (), truth, target_from_draft)
    scores = np.concatenate([level.scores.ravel() for level in levels])
    flat_ids = drafted.flat_ids
    if flat_ids is None or np.any((flat_ids < 0) | (flat_ids >= len(scores))):
        return None
    return replace(
        drafted, logprobs=np.concatenate([np.zeros(1, np.float32), scores[flat_ids]]), levels=levels
    )


def _rescored(
    levels: Sequence[DraftLevel], truth: DraftTruth, target_from_draft: Any
) -> tuple[DraftLevel, ...]:
    """Return the path's levels with the reference's scores; minus infinity off the draft vocabulary."""
    draft_from_target = {int(target): draft for draft, target in enumerate(target_from_draft)}
    rescored_levels = []
    for level, true in zip(levels, truth.levels, strict=True):
        rows = true.row_logprobs.float().cpu().numpy()
        columns = np.vectorize(lambda token: draft_from_target.get(int(token), len(target_from_draft)))(
            level.token_ids
        )
        padded = np.concatenate([rows, np.full((len(rows), 1), -np.inf, np.float32)], axis=1)
        beams = true.beam_logprob.float().cpu().numpy()[:, None]
        scores = (beams + np.take_along_axis(padded, columns, axis=1)).astype(np.float32)
        rescored_levels.append(replace(level, scores=scores))
    return tuple(rescored_levels)


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
