"""The path under test in a judged run; the reference runs the stages that it lacks or may not launch."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from tracing.errors import ContractError, LaunchRefusedError
from tracing.finding import Finding
from tracing.stages import Prefilled
from workbench.judge.turn_state import TurnState
from workbench.lockstep.engine.checked_stages import CheckedStages, num_rows, result_sizes
from workbench.lockstep.engine.failures import findings_of_failure, findings_of_windows
from workbench.lockstep.engine.stage_inputs import written_into
from workbench.lockstep.engine.step import run_prefill, run_step
from workbench.lockstep.engine.turn_state import FedTurnState
from workbench.lockstep.engine.under_test import PathUnderTest, StepResults
from workbench.lockstep.truth.reference_fill import ReferenceFill, run_reference_step
from workbench.lockstep.truth.reference_runner import ReferenceRunner

AfterStage = Callable[[str], None]


class _RefusedError(Exception):
    """A launch was refused and the step is to be finished on the reference's values."""


@dataclass(slots=True)
class Driver:
    """Drives the path under test through stages and fills in from the reference where it must.

    Attributes:
        under_test: The path under test.
        runner: The reference.
        eager: Finish a step on the reference's values after a refused launch, instead of ending it.
        announce: Called with a stage of the path that is about to be called.
        refused: Stage whose launch was refused in this step, or None.
        findings: Causes found in refused launches and in stages that write into their inputs, not yet
            taken by the caller.
    """

    under_test: PathUnderTest
    runner: ReferenceRunner
    eager: bool = False
    announce: Callable[[str], None] = lambda _: None
    refused: str | None = None
    findings: list[Finding] = field(default_factory=list)

    def prefill(self, turn_state: FedTurnState, results: StepResults, prompt: list[int]) -> Prefilled:
        """Prefill the path under test.

        Raises:
            StageFailedError: It was refused or raised.
        """
        run_prefill(self.under_test, prompt, _JudgedStages(self, turn_state, results))
        assert results.prefilled is not None
        return results.prefilled

    def step(self, turn_state: FedTurnState, results: StepResults, after_stage: AfterStage) -> None:
        """Run draft to commit; `after_stage(stage)` is called when a stage has its result.

        After a refused launch `results` holds what the path gave until then, and `results.eager` the step.

        Raises:
            StageFailedError: A stage was refused or raised, and the step is not to be finished eagerly.
        """
        self.refused = None
        stages = _JudgedStages(self, turn_state, results, after_stage)
        try:
            run_step(self.under_test, turn_state.remaining, stages)
        except _RefusedError:
            results.eager = run_reference_step(self.runner, turn_state, results.committed_len)

    def take_windows(self, turn_state: TurnState, stage: str) -> None:
        """Take over what the path's windows raised around a stage."""
        self.findings.extend(findings_of_windows(self.under_test, turn_state, stage))

    def take_findings(self) -> tuple[Finding, ...]:
        """Return and clear the findings of stages that ran."""
        found = tuple(self.findings)
        self.findings.clear()
        return found


class _JudgedStages(CheckedStages):
    """Observes one step of the path under test; stages that it lacks are the reference's."""

    def __init__(
        self,
        driver: Driver,
        turn_state: FedTurnState,
        results: StepResults,
        after_stage: AfterStage = lambda _: None,
    ) -> None:
        runner = driver.runner
        sizes = result_sizes(runner.truth.pair, runner.settings)
        super().__init__(driver.under_test, turn_state, results, sizes, driver.announce)
        self._driver = driver
        self._reference = ReferenceFill(runner, turn_state, results)
        self._follow = after_stage

    def after_stage(self, stage: str, result: Any) -> None:
        if self.results.own(stage):
            super().after_stage(stage, result)
        else:
            self.results.inputs[stage] = result
            self.results.keep(stage, deepcopy(result))
            if stage == "tensorize":  # a drafter without candidates gives a tree of the root alone
                self.sizes["N"] = num_rows(self.sizes["N"], self.results, result)
        self._read_for_judge(stage)
        self._driver.take_windows(self.turn_state, stage)
        if stage == "commit":
            self.require_followable()  # it was judged as what it is; it can only not be taken any further
        self._follow(stage)

    def check_inputs(self, stage: str) -> None:
        written = written_into(stage, self.turn_state.moment, self.results, self.sizes)
        self._driver.findings.extend(written)

    def fill(self, stage: str, arguments: tuple[Any, ...], error: Exception | None) -> Any:
        if error is None:
            return self._reference.fill(stage, arguments, None)
        refused = isinstance(error, (LaunchRefusedError, ContractError))
        if not (refused and self._driver.eager and stage != "prefill"):
            return super().fill(stage, arguments, error)
        self.stop_clock(stage)
        self._driver.findings.extend(findings_of_failure(self.turn_state, stage, error))
        self._driver.refused = stage
        raise _RefusedError from error

    def _read_for_judge(self, stage: str) -> None:
        """Read the cache rows and lengths that the judge compares with the reference's."""
        path, results = self.path, self.results
        if stage == "prefill":
            results.prefill_kv = path.rows("main", range(results.committed_len))
        elif stage == "draft":
            results.drafter_kv = path.rows("drafter", range(results.committed_len))
            if results.own(stage):
                results.drafter_lengths = path.lengths("drafter")
        elif results.own(stage):
            if stage == "verify":
                results.rows_verified = path.main_rows(results.committed_len)
            elif stage == "commit":
                results.lengths_after = path.lengths("main")
