"""Staged lockstep: the patient decodes; every stage is judged on the values that it was given and gave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tracing.finding import Finding
from tracing.models import ModelPair
from tracing.stages import DecodePath
from workbench.lockstep.driver import Driver, StageFailedError
from workbench.lockstep.handed import changed_by_tensorize, expected_at_launches
from workbench.lockstep.job import LockstepOptions
from workbench.lockstep.judging import StepJudge
from workbench.lockstep.ledger import Ledger
from workbench.lockstep.patient import Patient, StepResults
from workbench.lockstep.progress import Progress
from workbench.lockstep.referee import Referee
from workbench.lockstep.rows import record_fused, record_reference
from workbench.lockstep.turns import Turn
from workbench.lockstep.watch import LiveWatch

Tick = Callable[[int], None]


class StagedRun:
    """Decodes turns on a path and judges it against the reference, stage by stage.

    Attributes:
        judge: What was judged and what was not.
        indices: The index watch beside the path, if asked for.
        finished: Every turn so far, as decoded.
        stopped: True once a finding has ended the run.
    """

    def __init__(
        self,
        path: DecodePath,
        referee: Referee,
        pair: ModelPair,
        options: LockstepOptions,
        ledger: Ledger,
        *,
        dtype: str,
    ) -> None:
        self._options = options
        self._ledger = ledger
        self._eos = pair.eos_token_ids
        self._watch = LiveWatch(
            ledger.journal,
            ledger.check_before,
            refuse=options.on_violation != "launch",
            watch_indices=options.watch_indices,
        )
        self.indices = self._watch.indices
        patient = Patient.begin(path, self._watch, self.indices.around)
        self._driver = Driver(patient, referee, eager=options.on_violation == "eager")
        self.judge = StepJudge(referee, pair, options, patient, dtype)
        self.finished: list[Progress] = []
        self.stopped = False

    def run(self, turns: Sequence[Turn], tick: Tick) -> None:
        """Decode all turns; a later turn of a prompt goes on from everything before it."""
        so_far: dict[int, list[int]] = {}
        for turn in turns:
            if self.stopped:
                return
            prompt = turn.context(so_far.get(turn.prompt_id, []))
            progress = Progress(turn.prompt_id, turn.turn, self._options.settings.max_new_tokens)
            self.finished.append(progress)
            self._turn(progress, prompt, tick)
            so_far[turn.prompt_id] = [*prompt, *progress.emitted]

    def _turn(self, progress: Progress, prompt: list[int], tick: Tick) -> None:
        """Prefill, then step until the turn stops or the run does."""
        results = self._prefill(progress, prompt)
        if results is None:
            return
        progress.emit_root(self._eos)
        tick(1)
        if progress.stop_reason is not None:
            self._settle_without_step(progress, results)
            return
        while results is not None:
            num_emitted = len(progress.emitted)
            results = self._step(progress, results)
            tick(len(progress.emitted) - num_emitted)

    def _prefill(self, progress: Progress, prompt: list[int]) -> StepResults | None:
        """Open the row of the coming step, which the journal names, and prefill; None if that failed."""
        self._ledger.open_step(progress.prompt_id, progress.turn, progress.step)
        results = StepResults(committed_len=len(prompt))
        try:
            prefilled = self._driver.prefill(progress, results, prompt)
        except StageFailedError as failure:
            self._fail(progress, results, failure)
            return None
        progress.enter(prompt, prefilled)
        self.judge.after_prefill(prompt)
        return results

    def _settle_without_step(self, progress: Progress, results: StepResults) -> None:
        """A turn that ends with its first token: prefill is judged, its row says that no step ran."""
        self._record_fused(progress, results)
        found = self._ledger.add((), self.judge.judge(progress, results))
        self._ledger.record("fused", {"stop_reason": progress.stop_reason, "incomplete": "ended at its root"})
        self._ledger.close_step(step_verdict(found))

    def _step(self, progress: Progress, results: StepResults) -> StepResults | None:
        """Run and settle one step; return what the next one begins with, or None at the end."""
        self.judge.begin_step(progress, results)

        def after_stage(stage: str) -> None:
            self._ledger.expect(expected_at_launches(stage, results), changed_by_tensorize(results))
            self.judge.after_stage(stage, progress, results)

        try:
            self._driver.step(progress, results, after_stage)
        except StageFailedError as failure:
            self._fail(progress, results, failure)
            return None
        found = self._settle(progress, results)
        progress.take_step(results.eager or results)
        return self._next(progress, wrong=has_error(found))

    def _settle(self, progress: Progress, results: StepResults) -> tuple[Finding, ...]:
        """Record both rows, check and judge them."""
        self._record_fused(progress, results)
        record_reference(self._ledger, progress, results, self.judge.reference, self._options.settings)
        if self._driver.refused is not None:
            refused = f"{self._driver.refused}: finished on the reference's values"
            self._ledger.record("fused", {"launch_refused": refused})
        findings = [*self._driver.take_findings(), *self._watch.take_findings()]
        findings += self._ledger.check_row("fused")
        judgement = self.judge.judge(progress, results)
        judged = judgement.findings if judgement else ()
        findings += self.judge.cause([*findings, *judged], progress, results)
        if has_error([*findings, *judged]):
            self._ledger.skip_row("reference")  # it was fed values that are wrong
        else:
            findings += self._ledger.check_row("reference")
        found = self._ledger.add(findings, judgement)
        self._ledger.close_step(step_verdict(found))
        return found

    def _record_fused(self, progress: Progress, results: StepResults) -> None:
        """Record what the patient gave, as far as the step came, and what was seen beside it."""
        record_fused(self._ledger, progress, results, self._options.settings, self._watch.probe)
        self._ledger.record("fused", self.indices.take())

    def _next(self, progress: Progress, *, wrong: bool) -> StepResults | None:
        """Stop, resync or go on."""
        if wrong and self._options.on_divergence == "stop" and self._driver.refused is None:
            self.stopped = True
        if self.stopped or progress.stop_reason is not None:
            return None
        if wrong or self._driver.refused is not None:
            return self._resync(progress)
        self._ledger.open_step(progress.prompt_id, progress.turn, progress.step)
        return StepResults(committed_len=len(progress.committed))

    def _resync(self, progress: Progress) -> StepResults | None:
        """Rebuild the patient's caches by prefill of the same ids; what is found from here on is independent.

        The rebuilt root takes the place of the last emitted token: if a fault made that token wrong, the text
        goes on from the right one.
        """
        self._ledger.forget()
        results = self._prefill(progress, list(progress.committed))
        if results is not None:
            progress.emitted[-1] = progress.root
        return results

    def _fail(self, progress: Progress, results: StepResults, failure: StageFailedError) -> None:
        """A stage did not finish: record what there is, and end the run here."""
        self._record_fused(progress, results)
        self._ledger.record("fused", {"launch_refused": f"{failure.stage}: not finished, the run ends here"})
        self._watch.take_findings()
        findings = [*self._driver.take_findings(), *failure.findings]
        found = self._ledger.add(findings, self.judge.judge(progress, results))
        self._ledger.close_step(step_verdict(found))
        self.stopped = True


def has_error(findings: Iterable[Finding]) -> bool:
    """Tell whether one of these is more than a warning."""
    return any(finding.severity == "error" for finding in findings)


def step_verdict(found: Sequence[Finding]) -> str:
    """Return the verdict of a step's row: that of its first error, else `ok`."""
    return next((finding.verdict for finding in found if finding.severity == "error"), "ok")
