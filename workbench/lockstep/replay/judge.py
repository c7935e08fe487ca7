"""The reference on the recorded inputs of each step, judged as in a live run."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invariants.constraint import ALTERED
from invariants.laws import sampling_of
from reference.model import ReferenceModels
from reference.teacher import TeacherRows
from tracing.errors import UsageError
from tracing.finding import has_error
from tracing.run_facts import RequestLimits, SamplingSettings
from tracing.stages import Accepted, Tensorized
from workbench.judge.evidence import StepEvidence, VerifyEvidence, VerifySide
from workbench.judge.logprobs import judge_logprobs
from workbench.judge.notes import Notes, StageJudgement, Unchecked
from workbench.judge.recorded.evidence import ends_of_row, tensorized_of
from workbench.judge.recorded.rejudge import NO_REFERENCE
from workbench.judge.recorded.upcoming import Upcoming
from workbench.judge.row_truth import RowTruth
from workbench.judge.step import StepJudgement, judge_step
from workbench.judge.turn_state import TurnState
from workbench.lockstep.replay.borders import ChunkBorders
from workbench.lockstep.replay.draft import judge_scores
from workbench.lockstep.replay.sampled import sampled_accept, sampled_root
from workbench.lockstep.replay.stacked import StackedReference
from workbench.lockstep.tensors.host import host_floats
from workbench.lockstep.truth.reference_fill import verified_of
from workbench.lockstep.truth.reference_runner import ReferenceRunner

Row = Mapping[str, Any]
BY_BATCH = "which experts work on a row depends on the other requests of its launch"
Floats = NDArray[np.float64]


@dataclass(slots=True)
class ModelJudge:
    """Judges recorded steps with the models at hand.

    Attributes:
        runner: The reference, one precision above the recorded path and at its own.
        eos_token_ids: Tokens that end a turn.
        has_drafter: Whether drafts can be judged.
        max_positions: Positions that the path has, or None where not known.
        request_limits: Where requests end, by request id.
        request_sampling: How requests choose, likewise.
        borders: Where prompts were cut into chunks.
    """

    runner: ReferenceRunner
    eos_token_ids: frozenset[int]
    has_drafter: bool = True
    max_positions: int | None = None
    request_limits: Mapping[str, RequestLimits] = field(default_factory=dict)
    request_sampling: Mapping[str, SamplingSettings] = field(default_factory=dict)
    borders: ChunkBorders = field(default_factory=lambda: ChunkBorders({}))
    _faulty: set[tuple[int, int]] = field(default_factory=set)
    _stacked: StackedReference = field(init=False)

    def __post_init__(self) -> None:
        self._stacked = StackedReference(self.runner)

    @property
    def nodes_ahead(self) -> int:
        """Nodes of the steps that it wants to know of at a time."""
        return self._stacked.nodes_ahead

    def expect(self, steps: Sequence[Upcoming]) -> None:
        """Take note of the steps that come next."""
        self._stacked.expect(steps)

    def __call__(self, evidence: StepEvidence, row: Row, _: Row | None, state: TurnState) -> StepJudgement:
        """Judge one step; values that the reference refuses (ids out of range) are not checked."""
        if not state.has_length(row.get("committed_len")):
            reason = "tokens before the step are not in the trace, or not as many as committed_len says"
            return without_reference(judge_step(replace(evidence, prefill=None)), reason)
        unable = self.runner.unable or (BY_BATCH if self.runner.model_facts.routing_by_batch else "")
        if unable:
            return without_reference(judge_step(replace(evidence, prefill=None)), unable)
        turn = evidence.moment.place[:2]
        if row.get("context_token_ids") is not None:
            self._faulty.discard(turn)
        try:
            models = self.runner.models
            judgement = self._judge(evidence, row, state, models)
            # What follows an error of its turn accuses nobody: one sample is enough to say so.
            while (
                turn not in self._faulty
                and self._may_clear(judgement)
                and (more := self.runner.more(len(models) - 1))
            ):
                models += more
                judgement = self._judge(evidence, row, state, models)
        except UsageError as problem:
            return without_reference(judge_step(evidence), str(problem))
        finally:
            self._stacked.done_with(evidence.moment.place)
        if has_error(judgement.findings):
            self._faulty.add(turn)
        return judgement

    def _may_clear(self, judgement: StepJudgement) -> bool:
        """Whether more samples may: here a sampled acceptance too is judged by the true logits."""
        is_sampled = not self.runner.settings.is_greedy
        drawn = is_sampled and any(finding.moment.stage == "accept" for finding in judgement.findings)
        return drawn or bool(judgement.suspects)

    def _judge(
        self, evidence: StepEvidence, row: Row, state: TurnState, models: Sequence[ReferenceModels]
    ) -> StepJudgement:
        if evidence.prefill is not None:
            rows = self._stacked.prefill(state, models)
            evidence = replace(evidence, prefill=self._prefill(evidence, row, rows))
        scores = logprobs = None
        if evidence.verify is not None:
            tree = tensorized_of(row)
            nodes = self._stacked.verify(state, tree, models)
            evidence = replace(evidence, verify=self._verify(evidence.verify, row, nodes, tree))
            evidence = self._accept(evidence, row, tree, [each.logits for each in nodes])
            logprobs = self._logprobs(evidence, row, [each.logits for each in nodes])
            recorded = row.get("draft_logprobs")
            if self.has_drafter and (
                recorded is not None or _is_chosen(row, self.runner.truth.pair.proposer)
            ):
                scores = self._draft(evidence, row, state, tree, models)
        judgement = judge_step(evidence)
        for stage, part in (("draft", scores), ("", logprobs)):
            judgement = judgement if part is None else _joined(judgement, part, stage)
        return judgement

    def _draft(
        self,
        evidence: StepEvidence,
        row: Row,
        state: TurnState,
        tree: Tensorized,
        models: Sequence[ReferenceModels],
    ) -> StageJudgement:
        given: dict[str, Any] = {"recorded": row.get("draft_logprobs"), "num_in_reach": sys.maxsize}
        if self.max_positions is not None:
            given["num_in_reach"] = self.max_positions - len(state.committed)

        def after(tokens: Sequence[int]) -> StageJudgement:
            scored = self._stacked.scored_after(tokens, state, tree, models)
            return judge_scores(self.runner, evidence, tree, scored, **given)

        scored = self._stacked.scored(state, tree, models)
        plain = judge_scores(self.runner, evidence, tree, scored, **given)
        return self.borders.judged(plain, row, state, after)

    def _logprobs(self, evidence: StepEvidence, row: Row, logits: Sequence[Any]) -> StageJudgement | None:
        """Judge the log-probabilities that were returned with the text; None where none were."""
        recorded, part = row.get("emitted_logprobs"), evidence.accept
        if recorded is None or part is None or part.fused is None or row.get("logits_kind") == "masked":
            return None
        notes = Notes(evidence.moment, "accept", evidence.dtype)
        stated = sampling_of(self.request_sampling, row.get("request_id"))
        path, emitted = [0, *part.fused.accepted_nodes.tolist()], row["emitted_token_ids"].tolist()
        mode = "" if stated is None else stated.logprobs_mode
        every = [host_floats(each) for each in logits]
        judge_logprobs(notes, recorded, path=path, emitted=emitted, mode=mode, logits=every)
        return notes.judgement()

    def _prefill(self, evidence: StepEvidence, row: Row, rows: Sequence[Any]) -> Any:
        """Set the reference's root, where rounding cannot explain the difference."""
        part = evidence.prefill
        assert part is not None
        if not part.is_greedy:
            return sampled_root(part, self.runner.settings, row, [one.logits[-1] for one in rows])
        truth, *samples = (host_floats(one.logits[-1]).astype(np.float64) for one in rows)
        context = part.fused_context_token_ids
        root, recorded = int(truth.argmax()), -1 if context is None else int(context[-1])
        spread = max(float(np.abs(sample - truth).max()) for sample in samples) if samples else 0.0
        inside = 0 <= recorded < len(truth) and truth[root] - truth[recorded] <= 4 * spread
        if recorded != root and inside:
            return replace(part, reference_context_token_ids=None)
        prompt = part.prompt_token_ids
        return replace(part, reference_context_token_ids=np.array([*prompt, root], dtype=np.int64))

    def _verify(
        self, part: VerifyEvidence, row: Row, reference: Sequence[TeacherRows], tree: Tensorized
    ) -> VerifyEvidence:
        nodes = np.flatnonzero(tree.valid)
        truth, *samples = (host_floats(one.logits)[nodes] for one in reference)
        return replace(
            part,
            model_facts=part.model_facts or self.runner.model_facts,
            reference=VerifySide.of(verified_of(reference[0], tree, part.committed_len)),
            logits=RowTruth(
                fused=None if row.get("logits_kind") in ALTERED else known_rows(row, nodes, truth),
                truth=truth,
                samples=tuple(samples),
                rows=nodes,
            ),
        )

    def _accept(
        self, evidence: StepEvidence, row: Row, tree: Tensorized, logits: Sequence[Any]
    ) -> StepEvidence:
        part = evidence.accept
        if part is None:
            return evidence
        part = replace(part, eos_token_ids=ends_of_row(row, self.eos_token_ids, self.request_limits))
        if not part.is_greedy:
            return replace(evidence, accept=sampled_accept(part, self.runner.settings, row, tree, logits))
        given = part.target_token_ids, part.remaining, part.eos_token_ids
        accepted: Accepted = self.runner.stages.accept(tree, *given)
        return replace(evidence, accept=replace(part, reference=accepted))


def known_rows(row: Row, nodes: NDArray[np.int64], truth: NDArray[Any]) -> Floats | None:
    """Return the recorded logits as whole rows whose errors are never larger than the real ones.

    A trace keeps the K best logits of each row, so every other one was at most the K-th. Where it was not
    kept, the entry is the truth, or the K-th value if the truth is above it: nothing that was not recorded
    can be held against the path, and a truth above the K-th value still is.

    Args:
        row: The recorded step.
        nodes: Nodes to return, `[n]`.
        truth: The reference's rows of these nodes, `[n, V]`.

    Returns:
        float64 `[n, V]`, or None where no logits were recorded.
    """
    ids, logits = row.get("target_top_ids"), row.get("target_top_logits")
    if ids is None or logits is None or np.shape(ids) != np.shape(logits):
        return None
    ids, logits = np.asarray(ids)[nodes], np.asarray(logits, dtype=np.float64)[nodes]
    if ids.min() < 0 or ids.max() >= truth.shape[1]:
        raise UsageError(f"target_top_ids should lie in 0..{truth.shape[1] - 1}")
    filled: Floats = np.minimum(truth.astype(np.float64), logits.min(axis=1, keepdims=True))
    np.put_along_axis(filled, ids.astype(np.int64), logits, axis=1)
    return filled


def _is_chosen(row: Row, proposer: str) -> bool:
    """Whether a draft without scores was chosen by this kind of drafter, as far as is known."""
    temperature = row.get("row_temperature")
    is_drawn = row.get("draft_probs") is not None or (temperature is not None and temperature > 0)
    return not is_drawn and row.get("proposer") in (None, proposer)


def without_reference(judgement: StepJudgement, reason: str) -> StepJudgement:
    """Return a judgement that says why the reference had no part in it."""
    return replace(judgement, not_checked=(*judgement.not_checked, Unchecked("verify", NO_REFERENCE, reason)))


def _joined(judgement: StepJudgement, scores: StageJudgement, instead: str) -> StepJudgement:
    """Add what was judged apart; what `instead` names was not checked by its stage for that reason."""
    not_checked = tuple(each for each in judgement.not_checked if each.stage != instead)
    return replace(
        judgement,
        findings=(*scores.findings, *judgement.findings),
        near_ties=(*scores.near_ties, *judgement.near_ties),
        checked=(*judgement.checked, *scores.checked),
        not_checked=(*not_checked, *scores.not_checked),
    )
