"""Gathers the evidence of a step while it runs, has it judged, and settles which side is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reference.drafters.seam import DraftScore
from reference.search import DraftTruth
from reference.teacher import TeacherRows
from tracing.errors import UsageError
from tracing.finding import Finding, has_error
from tracing.models import ModelPair
from tracing.moment import Moment
from tracing.stages import Accepted, Drafted, Prefilled, Tensorized
from workbench.judge.evidence import StepEvidence
from workbench.judge.rules import finding_of
from workbench.judge.step import StepJudgement, judge_step
from workbench.lockstep.engine.checked_stages import num_rows
from workbench.lockstep.engine.turn_state import FedTurnState
from workbench.lockstep.engine.under_test import PathUnderTest, StepResults
from workbench.lockstep.recording.offsets import OffsetProbe
from workbench.lockstep.session.job import LockstepOptions
from workbench.lockstep.staged import evidence as build
from workbench.lockstep.staged.arbiter import with_arbiter
from workbench.lockstep.staged.cache_write_attribution import SUSPICIOUS, attribute_cache_write
from workbench.lockstep.staged.recheck import Recheck
from workbench.lockstep.tensors.host import host_floats
from workbench.lockstep.truth.reference_runner import ReferenceRunner


@dataclass(slots=True)
class ReferenceStep:
    """The reference's results on the tested path's values in one step; None or empty where it did not run.

    Attributes:
        prefill, drafts, verified: The truth first, then the samples.
        proposal: Its own draft, where a path has to draft the same.
        scores: Its scores of a draft that shows no search: the truth first, then the samples.
        drafted: The path's beams and nodes with the reference's own scores; None if they make no sense.
        offsets: Its draft attention offsets over nodes, masked int `[N, H]`, or None.
        tensorized, accepted: Its arrays and its path.
        missing: Stage to the reason why it refused the stage's values.
    """

    prefill: tuple[TeacherRows, ...] = ()
    drafts: tuple[DraftTruth, ...] = ()
    scores: tuple[DraftScore, ...] = ()
    drafted: Drafted | None = None
    proposal: Drafted | None = None
    offsets: Any = None
    tensorized: Tensorized | None = None
    verified: tuple[TeacherRows, ...] = ()
    accepted: Accepted | None = None
    missing: dict[str, str] = field(default_factory=dict)


class StepJudge:
    """Judges the steps of one run.

    Attributes:
        reference: What the reference made of the step in progress; None when the step is not judged.
    """

    def __init__(
        self,
        runner: ReferenceRunner,
        pair: ModelPair,
        options: LockstepOptions,
        under_test: PathUnderTest,
        dtype: str,
    ) -> None:
        self._runner = runner
        self._pair = pair
        self._options = options
        self._under_test = under_test
        self._dtype = dtype
        self._prompt: list[int] = []
        self._before: PathUnderTest | None = None
        self.reference: ReferenceStep | None = None

    def after_prefill(self, prompt: list[int]) -> None:
        """Ask the reference about the prompt; it is judged with the step that follows."""
        self.reference = ReferenceStep(prefill=self._runner.prefill(prompt))
        self._prompt = prompt

    def begin_step(self, turn_state: FedTurnState, results: StepResults) -> None:
        """Decide whether this step is judged, and keep a copy of the tested path's state if it is."""
        judged = self._options.judges(turn_state.step)
        if not judged:
            self.reference, self._before = None, None
            return
        if results.prefilled is None or self.reference is None:
            self.reference = ReferenceStep()
        self._before = self._under_test.snapshot()

    def after_stage(self, stage: str, turn_state: FedTurnState, results: StepResults) -> None:
        """Let the reference do the same stage on the same values."""
        if self.reference is None:
            return
        try:
            self._follow(self.reference, stage, turn_state, results)
        except UsageError as refusal:
            # The reference cannot even be fed these values (a token outside the vocabulary, for example).
            self.reference.missing[stage] = f"the reference refuses these values: {refusal}"

    def _follow(
        self, reference: ReferenceStep, stage: str, turn_state: FedTurnState, results: StepResults
    ) -> None:
        if stage == "draft" and results.drafted is not None and "draft" not in results.filled_by_reference:
            self._follow_draft(reference, turn_state, results.drafted)
        elif stage == "tensorize" and results.drafted is not None:
            reference.tensorized = self._runner.tensorize(
                results.drafted, results.committed_len, self._num_rows(results)
            )
        elif stage == "verify" and results.tensorized is not None:
            reference.verified = self._runner.verify(turn_state.committed, results.tensorized)
        elif stage == "accept" and results.tensorized is not None and results.verified is not None:
            reference.accepted = self._runner.accept(
                results.tensorized,
                results.verified,
                turn_state.remaining,
                results.draws.get("accept", ()),
            )

    def _follow_draft(self, reference: ReferenceStep, turn_state: FedTurnState, drafted: Drafted) -> None:
        search = drafted.beam_search()
        reference.proposal = self._runner.propose(*turn_state.fed)
        probe = OffsetProbe()
        if search is None:
            reference.scores = self._runner.score(*turn_state.fed, drafted)
        else:
            reference.drafts = self._runner.draft(*turn_state.fed, search.levels, probe)
        if truth := reference.drafts or reference.scores:
            reference.drafted = build.by_truth(drafted, truth[0], self._target_from_draft())
        if search is not None and reference.drafts:
            reference.offsets = probe.take(search.flat_ids, self._options.settings.tree_nodes)

    def _root(self, results: StepResults, prefilled: Prefilled, reference: ReferenceStep) -> tuple[int, int]:
        """The root, and its draws: by the truth's logits, or sampled by the path's own logits and draws."""
        if self._options.settings.is_greedy:
            return int(host_floats(reference.prefill[0].logits)[-1].argmax()), 0
        return self._runner.choose_root(prefilled.logits, results.draws.get("prefill", ()))

    def _num_rows(self, results: StepResults) -> int:
        """N of the step; the reference lays the tree out in as many rows as the path."""
        return num_rows(self._options.settings.tree_nodes, results, results.tensorized)

    def _target_from_draft(self) -> Any:
        return self._runner.truth.target_from_draft.cpu().numpy()

    def judge(self, turn_state: FedTurnState, results: StepResults) -> StepJudgement | None:
        """Judge a step's results, rechecking wrong ones; None on an unjudged step."""
        if self.reference is None:
            return None
        try:
            return self._judge(turn_state, results, self.reference)
        except (IndexError, ValueError, TypeError) as error:
            # A port's arrays that do not even fit together are a finding about it, never a crash of ours.
            return invalid(turn_state, results, error)

    def cause(
        self, findings: Iterable[Finding], turn_state: FedTurnState, results: StepResults
    ) -> tuple[Finding, ...]:
        """Return who wrote into a cache, where these findings of a judged step leave that open."""
        suspicious = any(finding.rule in SUSPICIOUS for finding in findings)
        return attribute_cache_write(self._before, turn_state, results) if suspicious else ()

    def _judge(
        self, turn_state: FedTurnState, results: StepResults, reference: ReferenceStep
    ) -> StepJudgement:
        evidence = self._evidence(turn_state, results, reference)
        judgement = judge_step(evidence)
        if self._sample_further(judgement.findings, turn_state, results, reference):
            evidence = self._evidence(turn_state, results, reference)
            judgement = judge_step(evidence)
        if has_error(judgement.findings):
            evidence = with_arbiter(evidence, judgement.findings, self._runner, turn_state, results)
            judgement = judge_step(evidence)
            truth = reference.verified[0].logits if reference.verified else None
            judgement = Recheck(self._before, turn_state, results).at(judgement, truth)
        return judgement

    def _sample_further(
        self,
        findings: Sequence[Finding],
        turn_state: FedTurnState,
        results: StepResults,
        reference: ReferenceStep,
    ) -> bool:
        """Draw more samples for the stages under suspicion; the path's own error plays no part in them."""
        stages = {finding.moment.stage for finding in findings} & {"prefill", "draft", "verify"}
        if "prefill" in stages and reference.prefill:
            reference.prefill += self._runner.further_prefill(self._prompt)
        search = None if results.drafted is None else results.drafted.beam_search()
        if "draft" in stages and reference.drafts and search is not None:
            reference.drafts += self._runner.further_drafts(*turn_state.fed, search.levels)
        if "draft" in stages and reference.scores and results.drafted is not None:
            reference.scores += self._runner.score(*turn_state.fed, results.drafted, further=True)
        if "verify" in stages and reference.verified and results.tensorized is not None:
            reference.verified += self._runner.further_nodes(turn_state.committed, results.tensorized)
        return bool(stages)

    def _evidence(
        self, turn_state: FedTurnState, results: StepResults, reference: ReferenceStep
    ) -> StepEvidence:
        settings = self._options.settings
        evidence = StepEvidence(
            moment=Moment(turn_state.prompt_id, turn_state.turn, turn_state.step),
            dtype=self._dtype,
            missing=dict.fromkeys(results.filled_by_reference, "the path does not provide this stage")
            | reference.missing,
            block_size=settings.block_size,
        )
        return replace(evidence, **self._stage_evidence(turn_state, results, reference))

    def _stage_evidence(
        self, turn_state: FedTurnState, results: StepResults, reference: ReferenceStep
    ) -> Mapping[str, Any]:
        settings, own = self._options.settings, results.own
        found: dict[str, Any] = {}
        if own("prefill") and results.prefilled is not None and reference.prefill:
            root, num_draws = self._root(results, results.prefilled, reference)
            found["prefill"] = replace(
                build.prefill_evidence(
                    self._prompt, results.prefilled, results.prefill_kv, reference.prefill, root
                ),
                is_greedy=settings.is_greedy,
                draws=results.draws.get("prefill"),
                num_draws=num_draws,
            )
        if own("draft") and results.drafted is not None:
            found["draft"] = replace(
                build.draft_evidence(
                    settings,
                    self._target_from_draft(),
                    turn_state.root,
                    results,
                    reference.drafts or reference.scores,
                ),
                proposal=reference.proposal,
                draws=results.draws.get("draft"),
                num_draws=self._runner.num_draft_draws(results.drafted, reference.scores),
            )
        if own("tensorize") and results.tensorized is not None:
            vocab_size = self._pair.teacher.vocab_size
            found["tensorize"] = build.tensorize_evidence(
                self._num_rows(results), vocab_size, results, reference.tensorized
            )
        if own("verify") and results.verified is not None and reference.verified:
            found["verify"] = build.verify_evidence(results, reference.verified)
        if own("accept") and results.accepted is not None and reference.accepted is not None:
            eos = self._pair.eos_token_ids
            found["accept"] = replace(
                build.accept_evidence(results, turn_state.remaining, eos, reference.accepted),
                is_greedy=settings.is_greedy,
                draws=results.draws.get("accept"),
            )
        if own("commit") and results.committed is not None:
            found["commit"] = build.commit_evidence(results)
        return found


def invalid(turn_state: FedTurnState, results: StepResults, error: Exception) -> StepJudgement:
    """Return the finding that the results of a step do not fit together."""
    stages = results.done()
    where = turn_state.moment.at(stages[-1] if stages else "")
    message = f"the results of this step do not fit together: {error}"
    return StepJudgement(findings=(finding_of("JUDGE-SHAPE", where, "", message, guilty="fused"),))
