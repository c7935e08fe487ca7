"""Gathers what the judge needs while a step runs, asks it, and settles who is to blame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reference.search import DraftTruth
from reference.teacher import TeacherRows
from tracing.errors import UsageError
from tracing.finding import Finding
from tracing.models import ModelPair
from tracing.moment import Moment
from tracing.stages import Accepted, Drafted, DraftLevel, Tensorized
from workbench.judge.evidence import StepEvidence
from workbench.judge.step import StepJudgement, judge_step
from workbench.lockstep import evidence as build
from workbench.lockstep.arbiter import with_arbiter
from workbench.lockstep.job import LockstepOptions
from workbench.lockstep.offsets import OffsetProbe, OffsetWatch
from workbench.lockstep.patient import Patient, StepResults
from workbench.lockstep.progress import Progress
from workbench.lockstep.referee import Referee
from workbench.lockstep.second_look import SecondLook
from workbench.lockstep.trespass import SUSPICIOUS, who_wrote


@dataclass(slots=True)
class ReferenceStep:
    """What the reference made of the patient's values in one step; None or empty where it was not asked.

    Attributes:
        prefill, drafts, verified: The truth first, then the samples.
        drafted: The patient's beams and nodes with the reference's own scores; None if they make no sense.
        offsets: Its draft attention offsets over nodes, masked int `[N, H]`, or None.
        tensorized, accepted: Its arrays and its path.
    """

    prefill: tuple[TeacherRows, ...] = ()
    drafts: tuple[DraftTruth, ...] = ()
    drafted: Drafted | None = None
    offsets: Any = None
    tensorized: Tensorized | None = None
    verified: tuple[TeacherRows, ...] = ()
    accepted: Accepted | None = None


class StepJudge:
    """Judges the steps of one run.

    Attributes:
        reference: What the reference made of the step in progress; None when the step is not judged.
        unjudged_steps: Steps decoded without a look, as asked.
    """

    def __init__(
        self, referee: Referee, pair: ModelPair, options: LockstepOptions, patient: Patient, dtype: str
    ) -> None:
        self._referee = referee
        self._pair = pair
        self._options = options
        self._patient = patient
        self._dtype = dtype
        self._prompt: list[int] = []
        self._before: Patient | None = None
        self._missing: dict[str, str] = {}
        self.reference: ReferenceStep | None = None
        self.unjudged_steps = 0

    def after_prefill(self, prompt: list[int]) -> None:
        """Ask the reference about the prompt; it is judged with the step that follows."""
        self.reference = ReferenceStep(prefill=self._referee.prefill(prompt))
        self._prompt = prompt

    def begin_step(self, progress: Progress, results: StepResults) -> None:
        """Decide whether this step is judged, and keep a copy of the patient's state if it is."""
        judged = self._options.judges(progress.step)
        self._missing = {}
        if not judged:
            self.reference, self._before = None, None
            self.unjudged_steps += 1
            return
        if results.prefilled is None or self.reference is None:
            self.reference = ReferenceStep()
        self._before = self._patient.snapshot()

    def after_stage(self, stage: str, progress: Progress, results: StepResults) -> None:
        """Let the reference do the same stage on the same values."""
        if self.reference is None:
            return
        try:
            self._follow(self.reference, stage, progress, results)
        except UsageError as refusal:
            # The reference cannot even be fed these values (a token outside the vocabulary, say).
            self._missing[stage] = f"the reference refuses these values: {refusal}"

    def _follow(self, reference: ReferenceStep, stage: str, progress: Progress, results: StepResults) -> None:
        if stage == "draft" and results.drafted is not None and "draft" not in results.foreign:
            self._follow_draft(reference, progress, results.drafted)
        elif stage == "tensorize" and results.drafted is not None:
            reference.tensorized = self._referee.stages.tensorize(
                results.drafted, results.committed_len, self._options.settings.tree_nodes
            )
        elif stage == "verify" and results.tensorized is not None:
            reference.verified = self._referee.verify(progress.committed, results.tensorized)
        elif stage == "accept" and results.tensorized is not None and results.verified is not None:
            reference.accepted = self._referee.stages.accept(
                results.tensorized,
                results.verified.target_token_ids,
                progress.remaining,
                self._pair.eos_token_ids,
            )

    def _follow_draft(self, reference: ReferenceStep, progress: Progress, drafted: Drafted) -> None:
        fed = (progress.committed, progress.root, progress.features, drafted.levels)
        probe = OffsetProbe()
        reference.drafts = self._referee.draft(*fed, OffsetWatch(probe))
        reference.offsets = probe.over_nodes(drafted.flat_ids, self._options.settings.tree_nodes)
        levels = rescored(drafted.levels, reference.drafts[0], self._target_from_draft())
        scores = np.concatenate([level.scores.ravel() for level in levels])
        if np.all((drafted.flat_ids >= 0) & (drafted.flat_ids < len(scores))):
            logprobs = np.concatenate([np.zeros(1, np.float32), scores[drafted.flat_ids]])
            reference.drafted = replace(drafted, logprobs=logprobs, levels=levels)

    def _target_from_draft(self) -> Any:
        return self._referee.truth.target_from_draft.cpu().numpy()

    def judge(self, progress: Progress, results: StepResults) -> StepJudgement | None:
        """Judge what the step gave, with a second look at what is wrong; None on an unjudged step."""
        if self.reference is None:
            return None
        try:
            return self._judge(progress, results, self.reference)
        except (IndexError, ValueError, TypeError) as error:
            # A port's arrays that do not even fit together are a finding about it, never a crash of ours.
            return misfit(progress, results, error)

    def cause(
        self, findings: Iterable[Finding], progress: Progress, results: StepResults
    ) -> tuple[Finding, ...]:
        """Return who wrote into a cache, where these findings of a judged step leave that open."""
        suspicious = any(finding.rule in SUSPICIOUS for finding in findings)
        return who_wrote(self._before, progress, results) if suspicious else ()

    def _judge(self, progress: Progress, results: StepResults, reference: ReferenceStep) -> StepJudgement:
        evidence = self._evidence(progress, results, reference)
        judgement = judge_step(evidence)
        if self._sample_further(judgement.findings, progress, results, reference):
            evidence = self._evidence(progress, results, reference)
            judgement = judge_step(evidence)
        if any(finding.severity == "error" for finding in judgement.findings):
            evidence = with_arbiter(evidence, judgement.findings, self._referee, progress, results)
            judgement = judge_step(evidence)
            truth = reference.verified[0].logits if reference.verified else None
            judgement = SecondLook(self._before, progress, results).at(judgement, truth)
        return judgement

    def _sample_further(
        self,
        findings: Sequence[Finding],
        progress: Progress,
        results: StepResults,
        reference: ReferenceStep,
    ) -> bool:
        """Draw more samples for the stages under suspicion; the patient's own error plays no part in them."""
        stages = {finding.stage for finding in findings} & {"prefill", "draft", "verify"}
        if "prefill" in stages and reference.prefill:
            reference.prefill += self._referee.further_prefill(self._prompt)
        if "draft" in stages and reference.drafts and results.drafted is not None:
            fed = (progress.committed, progress.root, progress.features, results.drafted.levels)
            reference.drafts += self._referee.further_drafts(*fed)
        if "verify" in stages and reference.verified and results.tensorized is not None:
            reference.verified += self._referee.further_nodes(progress.committed, results.tensorized)
        return bool(stages)

    def _evidence(self, progress: Progress, results: StepResults, reference: ReferenceStep) -> StepEvidence:
        settings = self._options.settings
        evidence = StepEvidence(
            moment=Moment(progress.prompt_id, progress.turn, progress.step),
            dtype=self._dtype,
            missing=dict.fromkeys(results.foreign, "the path does not provide this stage"),
            block_size=settings.block_size,
        )
        return replace(evidence, **self._stage_evidence(progress, results, reference))

    def _stage_evidence(
        self, progress: Progress, results: StepResults, reference: ReferenceStep
    ) -> Mapping[str, Any]:
        settings, own = self._options.settings, results.own
        found: dict[str, Any] = {}
        if own("prefill") and results.prefilled is not None and reference.prefill:
            found["prefill"] = build.prefill_evidence(
                self._prompt, results.prefilled, results.prefill_kv, reference.prefill
            )
        if own("draft") and results.drafted is not None and reference.drafts:
            found["draft"] = build.draft_evidence(
                settings, self._target_from_draft(), progress.root, results, reference.drafts
            )
        if own("tensorize") and results.tensorized is not None:
            vocab_size = self._pair.teacher.vocab_size
            found["tensorize"] = build.tensorize_evidence(settings, vocab_size, results, reference.tensorized)
        if own("verify") and results.verified is not None and reference.verified:
            found["verify"] = build.verify_evidence(results, reference.verified)
        if own("accept") and results.accepted is not None and reference.accepted is not None:
            eos = self._pair.eos_token_ids
            found["accept"] = build.accept_evidence(results, progress.remaining, eos, reference.accepted)
        if own("commit") and results.committed is not None:
            found["commit"] = build.commit_evidence(results)
        return found


def misfit(progress: Progress, results: StepResults, error: Exception) -> StepJudgement:
    """Return the finding that the results of a step do not fit together."""
    stages = results.done()
    finding = Finding(
        verdict="structural",
        guilty="fused",
        prompt_id=progress.prompt_id,
        turn=progress.turn,
        step=progress.step,
        stage=stages[-1] if stages else "",
        column="",
        rule="JUDGE-SHAPE",
        message=f"the results of this step do not fit together: {error}",
    )
    return StepJudgement(str(finding.moment), findings=(finding,))


def rescored(
    levels: Sequence[DraftLevel], truth: DraftTruth, target_from_draft: Any
) -> tuple[DraftLevel, ...]:
    """Return the patient's levels with the reference's scores; minus infinity off the draft vocabulary."""
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
