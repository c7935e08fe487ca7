"""From stage results to the judge's evidence: tensors become host arrays, rows get their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reference.search import DraftTruth
from reference.teacher import TeacherRows
from tracing.stages import Accepted, Drafted, IntArray, Prefilled, Tensorized
from workbench.judge.evidence import (
    AcceptEvidence,
    CommitEvidence,
    DraftEvidence,
    LevelTruth,
    PrefillEvidence,
    RowTruth,
    StepEvidence,
    TensorizeEvidence,
    VerifyEvidence,
    VerifySide,
)
from workbench.lockstep.engine.checked_stages import num_rows
from workbench.lockstep.engine.turn_state import FedTurnState
from workbench.lockstep.engine.under_test import StepResults
from workbench.lockstep.tensors.host import host_floats
from workbench.lockstep.truth.reference_fill import verified_of
from workbench.lockstep.truth.reference_runner import ReferenceRunner


def row_truth(fused: Any, reference: Sequence[Any], rows: IntArray | None = None) -> RowTruth:
    """Return one quantity; `reference` holds the truth first, then the samples."""
    truth, *samples = (host_floats(value) for value in reference)
    return RowTruth(
        fused=None if fused is None else host_floats(fused), truth=truth, samples=tuple(samples), rows=rows
    )


def feature_truth(fused: Any, reference: Sequence[Any]) -> RowTruth | None:
    """Return the tapped features; None where the drafter reads none."""
    return row_truth(fused, reference) if reference[0].shape[-1] else None


@dataclass(slots=True)
class ReferenceStep:
    """The reference's results on the tested path's values in one step; None or empty where it did not run.

    Attributes:
        prefill, drafts, verified: The truth first, then the samples.
        proposal: Its own draft, where a path has to draft the same.
        drafted: The path's beams and nodes with the reference's own scores; None if they make no sense.
        offsets: Its draft attention offsets over nodes, masked int `[N, H]`, or None.
        tensorized, accepted: Its arrays and its path.
    """

    prefill: tuple[TeacherRows, ...] = ()
    drafts: tuple[DraftTruth, ...] = ()
    drafted: Drafted | None = None
    proposal: Drafted | None = None
    offsets: Any = None
    tensorized: Tensorized | None = None
    verified: tuple[TeacherRows, ...] = ()
    accepted: Accepted | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Makes the judge's evidence of a step; a method per stage, None where the reference has nothing.

    Attributes:
        runner: The reference.
        prompt: Token ids of the last prefill.
        turn_state: The turn, as it is before the step.
        results: What the path gave.
        reference: What the reference made of it.
    """

    runner: ReferenceRunner
    prompt: Sequence[int]
    turn_state: FedTurnState
    results: StepResults
    reference: ReferenceStep

    def of_step(self, dtype: str) -> StepEvidence:
        """Return the evidence of all stages that the path provides and has a result of."""
        own = {stage: getattr(self, stage)() for stage in self.results.done() if self.results.own(stage)}
        return StepEvidence(
            moment=self.turn_state.moment,
            dtype=dtype,
            missing=dict.fromkeys(self.results.filled_by_reference, "the path does not provide this stage"),
            block_size=self.runner.settings.block_size,
            **own,
        )

    def prefill(self) -> PrefillEvidence | None:
        """Prefill: the root and the reference's, the row that chose it, features and committed K and V."""
        prefilled, rows = self.results.prefilled, self.reference.prefill
        if prefilled is None or not rows:
            return None
        return PrefillEvidence(
            prompt_token_ids=np.asarray(self.prompt, dtype=np.int64),
            is_greedy=self.runner.settings.is_greedy,
            fused_context_token_ids=prefilled.context_token_ids,
            reference_context_token_ids=np.array([*self.prompt, self._root(prefilled)], dtype=np.int64),
            logits=row_truth(prefilled.logits, [each.logits[-1] for each in rows]),
            features=feature_truth(prefilled.features, [each.features for each in rows]),
            kv=row_truth(self.results.prefill_kv, [each.kv for each in rows]),
        )

    def _root(self, prefilled: Prefilled) -> int:
        """The root by the truth's logits; a sampled one by the path's own logits and draws."""
        if self.runner.settings.is_greedy:
            return int(host_floats(self.reference.prefill[0].logits)[-1].argmax())
        return self.runner.choose_root(prefilled.logits, self.results.draws.get("prefill", ()))

    def draft(self) -> DraftEvidence:
        """Draft: the tested path's search, and the true score of each of its beams."""
        evidence = DraftEvidence(
            settings=self.runner.settings,
            root_token_id=self.turn_state.root,
            fused=self.results.drafted,
            proposal=self.reference.proposal,
            committed_len=self.results.committed_len,
            kv_lengths=self.results.drafter_lengths,
        )
        if not self.reference.drafts:
            return evidence
        truth, *samples = self.reference.drafts
        levels = tuple(
            LevelTruth(
                truth=host_floats(level.row_logprobs),
                samples=tuple(host_floats(sample.levels[number].row_logprobs) for sample in samples),
            )
            for number, level in enumerate(truth.levels)
        )
        kv = row_truth(self.results.drafter_kv, [each.committed_kv for each in self.reference.drafts])
        vocabulary = self.runner.truth.target_from_draft.cpu().numpy()
        return replace(evidence, target_from_draft=vocabulary, levels=levels, kv=kv)

    def tensorize(self) -> TensorizeEvidence:
        """Tensorize: the static arrays of both sides."""
        return TensorizeEvidence(
            committed_len=self.results.committed_len,
            num_nodes=num_rows(self.runner.settings.tree_nodes, self.results, self.results.tensorized),
            vocab_size=self.runner.truth.pair.teacher.vocab_size,
            drafted=self.results.drafted,
            fused=self.results.tensorized,
            reference=self.reference.tensorized,
        )

    def verify(self) -> VerifyEvidence | None:
        """Verify: rows of the valid nodes, and what the attention call was given."""
        results, reference = self.results, self.reference.verified
        tensorized, verified = results.tensorized, results.verified
        assert tensorized is not None
        assert verified is not None
        if not reference:
            return None
        nodes = np.flatnonzero(tensorized.valid)

        def judged(fused: Any, of: Callable[[TeacherRows], Any], axis: int) -> RowTruth:
            picked = None if fused is None else np.take(host_floats(fused), nodes, axis)
            return row_truth(
                picked, [np.take(host_floats(of(rows)), nodes, axis) for rows in reference], nodes
            )

        has_features = reference[0].features.shape[-1] > 0
        return VerifyEvidence(
            committed_len=results.committed_len,
            valid=tensorized.valid,
            built_visible=tensorized.visible,
            fused=VerifySide.of(verified),
            reference=VerifySide.of(verified_of(reference[0], tensorized, results.committed_len)),
            logits=judged(verified.logits, lambda rows: rows.logits, 0),
            features=judged(verified.features, lambda rows: rows.features, 0) if has_features else None,
            kv=judged(results.node_kv, lambda rows: rows.kv, 3),
            rows_before=results.rows_before,
            rows_after=results.rows_verified,
        )

    def accept(self) -> AcceptEvidence | None:
        """Accept: the tested path's tree and choices, and what each side accepted."""
        results, tensorized, verified = self.results, self.results.tensorized, self.results.verified
        assert tensorized is not None
        assert verified is not None
        if self.reference.accepted is None:
            return None
        return AcceptEvidence(
            committed_len=results.committed_len,
            tree=tensorized,
            target_token_ids=verified.target_token_ids,
            remaining=self.turn_state.remaining,
            eos_token_ids=self.runner.truth.pair.eos_token_ids,
            is_greedy=self.runner.settings.is_greedy,
            fused=results.accepted,
            reference=self.reference.accepted,
        )

    def commit(self) -> CommitEvidence:
        """Commit: digests of the tested path's own cache rows before, in the branch and after."""
        results = self.results
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
