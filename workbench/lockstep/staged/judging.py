"""Gathers the evidence of a step while it runs, has it judged, and settles which side is wrong."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable
from dataclasses import replace

from tracing.errors import UsageError
from tracing.finding import Finding, has_error
from tracing.moment import STAGES
from tracing.stages import Drafted
from workbench.judge.notes import Unchecked
from workbench.judge.rules import finding_of
from workbench.judge.step import StepJudgement, joined, judge_stage, judge_step
from workbench.lockstep.engine.checked_stages import num_rows, result_sizes
from workbench.lockstep.engine.turn_state import FedTurnState
from workbench.lockstep.engine.under_test import PathUnderTest, StepResults
from workbench.lockstep.recording.offsets import OffsetProbe
from workbench.lockstep.session.job import LockstepOptions
from workbench.lockstep.staged.arbiter import Arbiter, with_arbiter
from workbench.lockstep.staged.cache_write_attribution import SUSPICIOUS, attribute_cache_write
from workbench.lockstep.staged.evidence import Evidence, ReferenceStep
from workbench.lockstep.staged.explain import Explainer
from workbench.lockstep.staged.leanings import SAMPLES, Leanings
from workbench.lockstep.staged.recheck import Recheck
from workbench.lockstep.staged.repeats import Repeats
from workbench.lockstep.staged.rescored import by_truth
from workbench.lockstep.staged.sample_first import SampleFirst
from workbench.lockstep.truth.chosen_experts import chosen_of, chosen_of_step, worked
from workbench.lockstep.truth.reference_runner import Models, ReferenceRunner
from workbench.lockstep.truth.sampled import accept_by


class StepJudge:
    """Judges the steps of one run.

    Attributes:
        reference: What the reference made of the step in progress; None when the step is not judged.
        leanings: Small mistakes, measured over the run.
        sample_first: Which steps were judged without a truth.
    """

    def __init__(
        self,
        runner: ReferenceRunner,
        options: LockstepOptions,
        under_test: PathUnderTest,
        dtype: str,
    ) -> None:
        self._runner = runner
        self._options = options
        self._under_test = under_test
        self._dtype = dtype
        self._prompt: list[int] = []
        self._before: PathUnderTest | None = None
        self._judged_in_turn = 0
        self.leanings = Leanings(runner, dtype)
        self.sample_first = SampleFirst(runner)
        self._steps: deque[StepResults] = deque(maxlen=3)  # the last one is in progress
        self.reference: ReferenceStep | None = None

    def after_prefill(self, prompt: list[int], turn_state: FedTurnState) -> None:
        """Ask the reference about the prompt; it is judged with the step that follows."""
        self._steps.clear()
        unable = self._runner.unable
        if unable:
            self.reference = ReferenceStep(missing=dict.fromkeys(("prefill", "draft", "verify"), unable))
        else:
            self.reference = ReferenceStep(
                prefill=self._runner.prefill(
                    prompt, chosen=chosen_of(turn_state.expert_ids, self._runner.experts)
                )
            )
        self._prompt = prompt
        self._judged_in_turn = 0

    def begin_step(self, turn_state: FedTurnState, results: StepResults) -> None:
        """Decide whether this step is judged, and keep a copy of the tested path's state if it is."""
        self._steps.append(results)
        judged = self._options.judges(turn_state.step)
        if not judged:
            self.reference, self._before = None, None
            return
        if results.prefilled is None or self.reference is None:
            unable = self._runner.unable
            missing = dict.fromkeys(("draft", "verify"), unable) if unable else {}
            self.reference = ReferenceStep(missing=missing)
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
        if stage in reference.missing:
            return
        typical = self.sample_first.typical(stage, turn_state.step, results)
        reference.typical |= typical
        models = self._runner.models[1:2] if typical else None
        if stage == "draft" and results.drafted is not None and "draft" not in results.filled_by_reference:
            self._follow_draft(reference, turn_state, results.drafted, models)
        elif stage == "tensorize" and results.drafted is not None:
            # The reference lays the tree out in as many rows as the path.
            rows = num_rows(self._options.settings.tree_nodes, results, results.tensorized)
            reference.tensorized = self._runner.tensorize(results.drafted, results.committed_len, rows)
        elif stage == "verify" and results.tensorized is not None:
            chosen = chosen_of_step(
                turn_state, len(results.tensorized.token_ids), results.verified, self._runner.truth.teacher
            )
            reference.verified = self._runner.verify(
                turn_state.committed, results.tensorized, models, chosen=chosen
            )
        elif stage == "accept" and results.tensorized is not None and results.verified is not None:
            reference.sampled = accept_by(
                self._runner,
                results.tensorized,
                results.verified,
                turn_state.remaining,
                results.draws.get("accept", ()),
                recorded=results.accepted if results.own("accept") else None,
                true_logits=[rows.logits for rows in reference.verified],
            )

    def _follow_draft(
        self,
        reference: ReferenceStep,
        turn_state: FedTurnState,
        drafted: Drafted,
        models: Models | None = None,
    ) -> None:
        search = drafted.beam_search()
        reference.proposal = self._runner.propose(*turn_state.fed)
        probe = OffsetProbe()
        if search is None:
            reference.scores = self._runner.score(*turn_state.fed, drafted, models)
        else:
            reference.drafts = self._runner.draft(*turn_state.fed, search.levels, models, watch=probe)
        if truth := reference.drafts or reference.scores:
            reference.drafted = by_truth(drafted, truth[0], self._runner.target_from_draft)
        if search is not None and reference.drafts:
            reference.offsets = probe.take(search.flat_ids, self._options.settings.tree_nodes)

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
        gathered = Evidence(self._runner, self._prompt, turn_state, results, reference)
        evidence = gathered.of_step(self._dtype)
        judgement = judge_step(evidence)
        if by_sample := reference.by_sample:
            if self.sample_first.leaves_open(evidence, judgement, by_sample):
                self._ask_truth(by_sample, turn_state, results, reference)
                evidence = gathered.of_step(self._dtype)
                judgement = judge_step(evidence)
            else:
                self.sample_first.steps += 1
        self.sample_first.learn(evidence, judgement)
        while self._sample_further(judgement.suspects, turn_state, results, reference):
            evidence = gathered.of_step(self._dtype)
            judgement = judge_step(evidence)
        if has_error(judgement.findings):
            arbiter = Arbiter(self._runner, worked(reference.prefill), worked(reference.verified))
            evidence = with_arbiter(evidence, judgement.findings, arbiter, turn_state, results)
            judgement = judge_step(evidence)
            truth = reference.verified[0].logits if reference.verified else None
            recheck = Recheck(self._repeats(turn_state, results))

            def passes(stage: str, others: StepResults) -> bool:
                return self._passes(stage, turn_state, others, reference)

            explainer = Explainer(self._runner, turn_state, results, evidence, tuple(self._steps)[:-1])
            return explainer.at(recheck.at(judgement, truth, passes))
        if self.leanings.is_open:
            stages = {"draft", "verify"}
            while reference.fewest < SAMPLES and self._sample_further(stages, turn_state, results, reference):
                evidence = gathered.of_step(self._dtype)
        judgement = joined(judgement, self.leanings.after(evidence, turn_state, results.tensorized))
        return self._repeated(judgement, turn_state, results)

    def _ask_truth(
        self,
        stages: Container[str],
        turn_state: FedTurnState,
        results: StepResults,
        reference: ReferenceStep,
    ) -> None:
        """Run stages of which there is a sample alone on the truth as well."""
        reference.typical = {}
        if "draft" in stages and results.drafted is not None:
            self._follow_draft(reference, turn_state, results.drafted)
        if "verify" in stages and results.tensorized is not None:
            truth = self._runner.verify(turn_state.committed, results.tensorized, self._runner.models[:1])
            reference.verified = truth + reference.verified

    def _repeats(self, turn_state: FedTurnState, results: StepResults) -> Repeats | None:
        if self._before is None:
            return None
        sizes = result_sizes(self._runner.truth.pair, self._runner.settings)
        return Repeats(self._before, turn_state, self._prompt, results, sizes)

    def _repeated(
        self, judgement: StepJudgement, turn_state: FedTurnState, results: StepResults
    ) -> StepJudgement:
        """Repeat one clean step a turn, bit by bit: the second that is judged, or an only one.

        The first has no earlier step whose inputs could be left over. Prefill is repeated with the first.
        """
        self._judged_in_turn += 1
        ends = results.accepted is None or results.accepted.stop_reason is not None
        is_due = self._judged_in_turn == 2 or (self._judged_in_turn == 1 and ends)
        if not self._options.repeat or not (is_due or results.prefilled is not None):
            return judgement
        repeats = self._repeats(turn_state, results)
        if repeats is None:
            missing = Unchecked("verify", "repeat", "the state of the path cannot be copied")
            return replace(judgement, not_checked=(*judgement.not_checked, missing))
        return joined(judgement, repeats.clean(("prefill", *STAGES[1:]) if is_due else ("prefill",)))

    def _passes(
        self, stage: str, turn_state: FedTurnState, others: StepResults, reference: ReferenceStep
    ) -> bool:
        """Return whether the judge finds nothing wrong with a stage of other results of the same step."""
        given = replace(reference, typical={})
        if stage == "draft" and others.drafted is not None:
            self._follow_draft(given, turn_state, others.drafted)
        evidence = Evidence(self._runner, self._prompt, turn_state, others, given).of_step(self._dtype)
        return not has_error(judge_stage(evidence, stage).findings)

    def _sample_further(
        self,
        stages: Container[str],
        turn_state: FedTurnState,
        results: StepResults,
        reference: ReferenceStep,
    ) -> bool:
        """Draw more samples for these stages, and tell whether there were any.

        The path's own error plays no part in them.
        """
        runner = self._runner
        search = None if results.drafted is None else results.drafted.beam_search()
        before = reference.num_results
        if "prefill" in stages and reference.prefill:
            more = runner.more(len(reference.prefill) - 1)
            reference.prefill += runner.prefill(self._prompt, more, chosen=worked(reference.prefill))
        if "draft" in stages and reference.drafts and search is not None:
            more = runner.more(len(reference.drafts) - 1)
            reference.drafts += runner.draft(*turn_state.fed, search.levels, more)
        if "draft" in stages and reference.scores and results.drafted is not None:
            more = runner.more(len(reference.scores) - 1)
            reference.scores += runner.score(*turn_state.fed, results.drafted, more)
        if "verify" in stages and reference.verified and results.tensorized is not None:
            more = runner.more(len(reference.verified) - 1)
            alike = {"chosen": worked(reference.verified)}
            reference.verified += runner.verify(turn_state.committed, results.tensorized, more, **alike)
        return reference.num_results > before


def invalid(turn_state: FedTurnState, results: StepResults, error: Exception) -> StepJudgement:
    """Return the finding that the results of a step do not fit together."""
    stages = results.done()
    where = turn_state.moment.at(stages[-1] if stages else "")
    message = f"the results of this step do not fit together: {error}"
    return StepJudgement(findings=(finding_of("JUDGE-SHAPE", where, "", message, guilty="fused"),))
