"""From stage results to the judge's evidence: tensors become host arrays, rows get their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from reference.drafters.seam import DraftScore
from reference.search import DraftTruth
from reference.teacher import TeacherRows
from tracing.stages import Accepted, Drafted, IntArray, Tensorized
from workbench.judge.evidence import (
    AcceptEvidence,
    CommitEvidence,
    DraftEvidence,
    LevelTruth,
    NodeTruth,
    PrefillEvidence,
    StepEvidence,
    TensorizeEvidence,
    VerifyEvidence,
    VerifySide,
)
from workbench.judge.rounded_cache import beyond_rounding
from workbench.judge.row_truth import RowTruth
from workbench.judge.typical import Typical
from workbench.lockstep.engine.checked_stages import num_rows
from workbench.lockstep.engine.turn_state import FedTurnState
from workbench.lockstep.engine.under_test import StepResults
from workbench.lockstep.staged.routing import RoutingEvidence
from workbench.lockstep.staged.sample_first import LEVELS, LOGITS, beside_sample
from workbench.lockstep.tensors.host import host_floats
from workbench.lockstep.truth.reference_fill import verified_of
from workbench.lockstep.truth.reference_runner import ReferenceRunner
from workbench.lockstep.truth.sampled import SampledTruth, root_of


def row_truth(fused: Any, reference: Sequence[Any], rows: IntArray | None = None) -> RowTruth:
    """Return one quantity; `reference` holds the truth first, then the samples."""
    truth, *samples = (host_floats(value) for value in reference)
    own = None if fused is None else host_floats(fused)
    return RowTruth(fused=own, truth=truth, samples=tuple(samples), rows=rows)


def feature_truth(fused: Any, reference: Sequence[Any]) -> RowTruth | None:
    """Return the tapped features; None where the drafter reads none."""
    return row_truth(fused, reference) if reference[0].shape[-1] else None


@dataclass(slots=True)
class ReferenceStep:
    """The reference's results on the tested path's values in one step; None or empty where it did not run.

    Attributes:
        prefill, drafts, verified: The truth first, then the samples.
        proposal: Its own draft, where a path has to draft the same.
        scores: Its scores of a draft that shows no search: the truth first, then the samples.
        drafted: The path's beams and nodes with the reference's own scores; None if they make no sense.
        offsets: Its draft attention offsets over nodes, masked int `[N, H]`, or None.
        tensorized, sampled: Its arrays and its path; that follows the tested path where rounding allows it.
        missing: Stage to the reason why it refused the stage's values.
        typical: `stage.quantity` to typical errors, of stages whose only result is a sample.
    """

    prefill: tuple[TeacherRows, ...] = ()
    drafts: tuple[DraftTruth, ...] = ()
    scores: tuple[DraftScore, ...] = ()
    drafted: Drafted | None = None
    proposal: Drafted | None = None
    offsets: Any = None
    tensorized: Tensorized | None = None
    verified: tuple[TeacherRows, ...] = ()
    sampled: SampledTruth | None = None
    missing: dict[str, str] = field(default_factory=dict)
    typical: dict[str, Typical] = field(default_factory=dict)

    @property
    def by_sample(self) -> frozenset[str]:
        """Stages of which there is a sample alone."""
        return frozenset(name.partition(".")[0] for name in self.typical)

    @property
    def num_results(self) -> int:
        """How many times the truth and samples ran, over all stages."""
        return sum(map(len, (self.prefill, self.drafts, self.scores, self.verified)))

    @property
    def fewest(self) -> int:
        """Samples that draft and verify have at least."""
        return min((len(each) - 1 for each in (self.drafts, self.scores, self.verified) if each), default=0)


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
        filled = dict.fromkeys(self.results.filled_by_reference, "the path does not provide this stage")
        return StepEvidence(
            moment=self.turn_state.moment,
            dtype=dtype,
            missing=filled | self.reference.missing,
            block_size=self.runner.settings.block_size,
            walked=self._walked() if "accept" in self.results.done() else None,
            **own,
        )

    def prefill(self) -> PrefillEvidence | None:
        """Prefill: the root and the reference's, the row that chose it, features and committed K and V."""
        prefilled, rows = self.results.prefilled, self.reference.prefill
        if prefilled is None or not rows:
            return None
        root = root_of(self.runner, prefilled, rows[0].logits[-1], self.results.draws.get("prefill", ()))
        return PrefillEvidence(
            prompt_token_ids=np.asarray(self.prompt, dtype=np.int64),
            fused_context_token_ids=prefilled.context_token_ids,
            reference_context_token_ids=np.array([*self.prompt, root.token_id], dtype=np.int64),
            logits=row_truth(prefilled.logits, [each.logits[-1] for each in rows]),
            features=feature_truth(prefilled.features, [each.features for each in rows]),
            kv=self._cached(row_truth(self.results.prefill_kv, [each.kv for each in rows])),
            routing=RoutingEvidence(self.runner.experts, rows).of_prompt(prefilled.expert_ids),
            is_greedy=self.runner.settings.is_greedy,
            draws=self.results.draws.get("prefill"),
            num_draws=root.num_draws,
            draw_ties=root.ties,
            absent=self.runner.absent,
        )

    def draft(self) -> DraftEvidence:
        """Draft: the tested path's tree, and the true score of each of its beams, or of each node."""
        results, reference = self.results, self.reference
        assert results.drafted is not None
        evidence = DraftEvidence(
            settings=self.runner.settings,
            root_token_id=self.turn_state.root,
            fused=results.drafted,
            proposal=reference.proposal,
            committed_len=results.committed_len,
            kv_lengths=results.drafter_lengths,
            draws=results.draws.get("draft"),
            num_draws=self.runner.num_draft_draws(results.drafted, reference.scores),
            absent=self.runner.absent,
        )
        if not (truth := reference.drafts or reference.scores):
            return evidence
        own_kv = [one.committed_kv for one in truth if one.committed_kv is not None]
        typical = self.reference.typical
        kv = self._cached(row_truth(results.drafter_kv, own_kv)) if own_kv else None
        return replace(
            evidence,
            target_from_draft=self.runner.target_from_draft,
            kv=beside_sample(kv, typical.get("draft.kv")),
            **_draft_truth(truth, typical.get(LEVELS)),
        )

    def tensorize(self) -> TensorizeEvidence:
        """Tensorize: the static arrays of both sides."""
        return TensorizeEvidence(
            committed_len=self.results.committed_len,
            num_nodes=num_rows(self.runner.settings.tree_nodes, self.results, self.results.tensorized),
            vocab_size=self.runner.truth.pair.teacher.vocab_size,
            drafted=self.results.drafted,
            fused=self.results.tensorized,
            reference=self.reference.tensorized,
            rotary_offset=self.runner.model_facts.rotary_offset,
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
        has_features = reference[0].features.shape[-1] > 0
        typical = self.reference.typical

        def picked(value: Any, axis: int) -> Any:
            rows = host_floats(value)
            whole = rows.shape[axis] == len(tensorized.valid) == len(nodes)
            return rows if whole else np.take(rows, nodes, axis)

        def judged(fused: Any, of: Callable[[TeacherRows], Any], axis: int) -> RowTruth:
            own = None if fused is None else picked(fused, axis)
            return row_truth(own, [picked(of(rows), axis) for rows in reference], nodes)

        return VerifyEvidence(
            committed_len=results.committed_len,
            valid=tensorized.valid,
            built_visible=tensorized.visible,
            depths=tensorized.position_ids - results.committed_len - self.runner.model_facts.rotary_offset,
            model_facts=self.runner.model_facts,
            constrained=np.full(len(tensorized.valid), self.runner.model_facts.constrained_choice),
            fused=VerifySide.of(verified),
            reference=VerifySide.of(verified_of(reference[0], tensorized, results.committed_len)),
            logits=beside_sample(judged(verified.logits, lambda rows: rows.logits, 0), typical.get(LOGITS)),
            features=beside_sample(
                judged(verified.features, lambda rows: rows.features, 0) if has_features else None,
                typical.get("verify.features"),
            ),
            kv=beside_sample(
                self._cached(judged(results.node_kv, lambda rows: rows.kv, 3)), typical.get("verify.kv")
            ),
            routing=RoutingEvidence(self.runner.experts, reference).of_nodes(
                nodes, verified, self.turn_state.expert_ids, results.committed_len
            ),
            rows_before=results.rows_before,
            rows_after=results.rows_verified,
            absent=self.runner.absent,
        )

    def _cached(self, kv: RowTruth) -> RowTruth:
        """Return K and V without what the path's cache rounds on purpose."""
        facts = self.runner.model_facts
        if not facts.cache_dtype or kv.fused is None or kv.truth is None or kv.fused.shape != kv.truth.shape:
            return kv
        return replace(kv, fused=beyond_rounding(kv.fused, kv.truth, facts))

    def accept(self) -> AcceptEvidence | None:
        """Accept: the tested path's tree and choices, and what each side accepted."""
        law = self.reference.sampled
        return None if law is None else replace(self._walked(law.accepted), draw_ties=law.ties)

    def _walked(self, reference: Accepted | None = None) -> AcceptEvidence:
        """Acceptance as it went, by whomever; beside the reference's where that is given."""
        results, tensorized, verified = self.results, self.results.tensorized, self.results.verified
        assert tensorized is not None
        assert verified is not None
        return AcceptEvidence(
            committed_len=results.committed_len,
            tree=tensorized,
            target_token_ids=verified.target_token_ids,
            remaining=self.turn_state.remaining,
            eos_token_ids=self.runner.truth.pair.eos_token_ids,
            fused=results.accepted,
            reference=reference,
            is_greedy=self.runner.settings.is_greedy,
            draws=results.draws.get("accept"),
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


def _draft_truth(
    reference: Sequence[DraftTruth] | Sequence[DraftScore], typical: Typical | None
) -> dict[str, Any]:
    """Return the rows of a search, level by level, or those that proposed the nodes of another draft."""
    if isinstance(truth := reference[0], DraftScore):
        scores = [one for one in reference if isinstance(one, DraftScore)]
        laws = [one.law for one in scores if one.law is not None]
        rows = level_truth([one.logprobs for one in scores])
        law = level_truth(laws) if laws else None
        static = {"parents": truth.parents, "ranks": truth.ranks}
        return {"nodes": NodeTruth(rows=rows, row_of=np.asarray(truth.row_of), law=law, **static)}
    searches = [one for one in reference if isinstance(one, DraftTruth)]
    levels = (
        level_truth([one.levels[number].row_logprobs for one in searches], typical)
        for number in range(len(truth.levels))
    )
    return {"levels": tuple(levels)}


def level_truth(reference: Sequence[Any], typical: Typical | None = None) -> LevelTruth:
    """Return rows over the draft vocabulary; `reference` holds the truth first, then the samples."""
    truth, *samples = map(host_floats, reference)
    return LevelTruth(truth=truth, samples=tuple(samples), typical=typical)
