"""Staged lockstep: the path decodes; every stage is judged on the values that it was given and gave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from invariants.context import RunContext
from invariants.run import Checker
from tracing.draws import DrawTape
from tracing.finding import Finding, has_error
from tracing.models import ModelPair
from tracing.recorder import OnError, RunWriter, Trace
from tracing.stages import DecodePath
from workbench.judge.verdict import Tally
from workbench.lockstep.engine.checked_stages import StageFailedError
from workbench.lockstep.engine.stage_inputs import copied_by_tensorize, expected_at_launches
from workbench.lockstep.engine.turn_state import FedTurnState
from workbench.lockstep.engine.under_test import StepResults
from workbench.lockstep.engine.user_code import UserCode
from workbench.lockstep.recording.rows import ended_at_root, path_columns
from workbench.lockstep.recording.run_log import RunLog
from workbench.lockstep.recording.watch import LiveWatch
from workbench.lockstep.session.job import LockstepOptions
from workbench.lockstep.session.turns import Tick, Turn, TurnsRunner
from workbench.lockstep.staged.driver import Driver
from workbench.lockstep.staged.judging import StepJudge
from workbench.lockstep.staged.reference_row import record_reference
from workbench.lockstep.truth.reference_runner import ReferenceRunner


class StagedRun(TurnsRunner):
    """Decodes turns on a path and judges it against the reference, stage by stage.

    Attributes:
        judge: What was judged and what was not.
    """

    def __init__(
        self,
        path: DecodePath,
        runner: ReferenceRunner,
        pair: ModelPair,
        options: LockstepOptions,
        log: RunLog,
        *,
        dtype: str,
        user_code: UserCode | None = None,
    ) -> None:
        watch = LiveWatch(
            log.journal,
            log.check_before,
            refuse=options.on_violation != "launch",
            watch_indices=options.watch_indices,
        )
        tape = DrawTape.seeded(options.seed, options.generator)
        super().__init__(path, options.settings, log, watch, user_code=user_code, tape=tape)
        self._eos = pair.eos_token_ids
        self._options = options
        eager = options.on_violation == "eager"
        self._driver = Driver(self._under_test, runner, eager=eager, announce=log.announce)
        self.judge = StepJudge(runner, options, self._under_test, dtype)

    def leanings(self) -> dict[str, Any]:
        """Return what the judge measured over all steps."""
        return self.judge.leanings.as_json()

    def _turn(self, turn_state: FedTurnState, prompt: list[int], tick: Tick) -> None:
        """Prefill, then step until the turn stops or the run does."""
        results = self._prefill(turn_state, prompt)
        if results is None:
            return
        turn_state.stop_at_root(self._eos)
        tick(1)
        if turn_state.ended:
            self._settle_without_step(turn_state, results)
            return
        while results is not None:
            num_emitted = len(turn_state.emitted)
            results = self._step(turn_state, results)
            tick(len(turn_state.emitted) - num_emitted)

    def _prefill(self, turn_state: FedTurnState, prompt: list[int]) -> StepResults | None:
        """Open the row of the coming step, which the journal names, and prefill; None if that failed."""
        self.log.open_step(turn_state.prompt_id, turn_state.turn, turn_state.step)
        results = StepResults(committed_len=len(prompt))
        try:
            prefilled = self._driver.prefill(turn_state, results, prompt)
        except StageFailedError as failure:
            self._fail(turn_state, results, failure)
            return None
        turn_state.enter(prompt, prefilled.context_token_ids)
        turn_state.features, turn_state.expert_ids = prefilled.features, prefilled.expert_ids
        self.judge.after_prefill(prompt, turn_state)
        return results

    def _settle_without_step(self, turn_state: FedTurnState, results: StepResults) -> None:
        """Judge the prefill of a turn that ends with its first token; its row records that no step ran."""
        self._record_fused(turn_state, results)
        found = self.log.add(self._driver.take_findings(), self.judge.judge(turn_state, results))
        self.log.record("fused", ended_at_root(turn_state))
        self.log.close_step(found)

    def _step(self, turn_state: FedTurnState, results: StepResults) -> StepResults | None:
        """Run and settle one step; return the results that the next one begins with, or None at the end."""
        self.judge.begin_step(turn_state, results)
        self.unjudged_steps += self.judge.reference is None
        self.sampled_out += not self._options.samples(turn_state.step)

        def after_stage(stage: str) -> None:
            self.log.expect(expected_at_launches(stage, results), copied_by_tensorize(results))
            self.judge.after_stage(stage, turn_state, results)

        try:
            self._driver.step(turn_state, results, after_stage)
        except StageFailedError as failure:
            self._fail(turn_state, results, failure)
            return None
        found = self._settle(turn_state, results)
        _advance(turn_state, results.eager or results)
        return self._next(turn_state, wrong=has_error(found))

    def _settle(self, turn_state: FedTurnState, results: StepResults) -> tuple[Finding, ...]:
        """Record both rows, check and judge them."""
        self._record_fused(turn_state, results)
        if self._driver.refused is not None:
            refused = f"{self._driver.refused}: finished on the reference's values"
            self.log.record("fused", {"launch_refused": refused})
        findings = [*self._driver.take_findings(), *self._watch.take_findings()]
        findings += self.log.check_row("fused")
        judgement = self.judge.judge(turn_state, results)
        record_reference(self.log, turn_state, results, self.judge.reference, self._settings)
        judged = judgement.findings if judgement else ()
        findings += self.judge.cause([*findings, *judged], turn_state, results)
        if has_error([*findings, *judged]):
            self.log.skip_row("reference")  # it was fed values that are wrong
        else:
            findings += self.log.check_row("reference")
        found = self.log.add(findings, judgement)
        self.log.close_step(found)
        return found

    def _record_fused(self, turn_state: FedTurnState, results: StepResults) -> None:
        """Record what the path under test gave until the step ended, and its index sites."""
        columns = path_columns(turn_state, results, self._settings, self._watch.probe)
        self.log.record("fused", columns | dict(self.indices.take()))

    def _next(self, turn_state: FedTurnState, *, wrong: bool) -> StepResults | None:
        """Stop, resync or continue."""
        if wrong and self._options.on_divergence == "stop" and self._driver.refused is None:
            self.stopped = True
        if self.stopped or turn_state.ended:
            return None
        if wrong or self._driver.refused is not None:
            return self._resync(turn_state)
        self.log.open_step(turn_state.prompt_id, turn_state.turn, turn_state.step)
        return StepResults(committed_len=len(turn_state.committed))

    def _resync(self, turn_state: FedTurnState) -> StepResults | None:
        """Rebuild the path's caches by prefill of the same ids; what is found from here on is independent.

        The rebuilt root replaces the last emitted token.
        """
        self.log.resync()
        return self._prefill(turn_state, list(turn_state.committed))

    def _fail(self, turn_state: FedTurnState, results: StepResults, failure: StageFailedError) -> None:
        """A stage did not finish: record what there is, and end the run here."""
        self._record_fused(turn_state, results)
        self.log.record("fused", {"launch_refused": f"{failure.stage}: not finished, the run ends here"})
        self._watch.take_findings()
        self._driver.take_windows(turn_state, failure.stage)
        findings = [*self._driver.take_findings(), *failure.findings]
        found = self.log.add(findings, self.judge.judge(turn_state, results))
        self.log.close_step(found)
        self.stopped = True


def judge_turns(
    path: DecodePath,
    runner: ReferenceRunner,
    pair: ModelPair,
    options: LockstepOptions,
    turns: Sequence[Turn],
    *,
    writer: RunWriter,
    context: RunContext,
    tally: Tally,
    dtype: str,
    tick: Tick = lambda _: None,
    traced: Callable[[Trace], Any] = lambda trace: trace,
    on_error: OnError = "warn",
    user_code: UserCode | None = None,
) -> StagedRun:
    """Decode turns in staged lockstep: record both paths, judge each step, run the rules over the whole run.

    Args:
        path: The path under test.
        runner: The reference.
        pair: Both models.
        options: How to watch and judge.
        turns: What to decode.
        writer: The folder being written.
        context: Limits that the rules may ask for.
        tally: The verdict so far.
        dtype: The tested path's dtype by name.
        tick: Called with the number of new tokens.
        traced: Takes the recorder of each path and returns the one to use.
        on_error: Whether a row of the path under test that cannot be recorded raises.
        user_code: Calls the code of the path under test.
    """
    traces = (
        writer.path("fused", lacks=path.lacks, info=dict(path.info), on_error=on_error),
        writer.path("reference", lacks=runner.lacks, info=runner.info),
    )
    log = RunLog(writer, {trace.name: traced(trace) for trace in traces}, Checker(context), tally)
    staged = StagedRun(path, runner, pair, options, log, dtype=dtype, user_code=user_code)
    try:
        staged.run(turns, tick)
    finally:
        log.abandon_step()
    log.finish()
    return staged


def _advance(turn_state: FedTurnState, results: StepResults) -> None:
    """Let a turn take a finished step, with the features of the rows that it commits."""
    assert results.tensorized is not None
    assert results.verified is not None
    assert results.accepted is not None
    turn_state.take_features(results.verified, results.accepted)
    turn_state.take_step(results.tensorized, results.accepted)
