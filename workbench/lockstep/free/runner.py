"""A path that runs on its own outputs: decoded, recorded and checked, not compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from invariants.catalogue import BY_ID
from tracing.errors import EnvironmentProblemError, UsageError
from tracing.finding import Finding
from tracing.models import ModelPair
from tracing.moment import STAGES
from tracing.settings import DecodeSettings
from tracing.stages import DecodePath
from workbench.judge.share import Part
from workbench.judge.turn_state import TurnState
from workbench.judge.verdict import Tally
from workbench.lockstep.engine.checked_stages import CheckedStages, StageFailedError, result_sizes
from workbench.lockstep.engine.failures import findings_of_failure, findings_of_windows
from workbench.lockstep.engine.stage_inputs import copied_by_tensorize, expected_at_launches, written_into
from workbench.lockstep.engine.step import begin_turn, run_step
from workbench.lockstep.engine.under_test import PathUnderTest, StepResults
from workbench.lockstep.engine.user_code import UserCode
from workbench.lockstep.recording.rows import ended_at_root, path_columns
from workbench.lockstep.recording.run_log import RunLog
from workbench.lockstep.recording.watch import LiveWatch
from workbench.lockstep.session.turns import Tick, TurnsRunner


def require_all_stages(path: DecodePath) -> None:
    """Refuse a path that lacks a stage.

    Raises:
        UsageError: A stage is missing.
    """
    missing = [stage for stage in STAGES if getattr(path.stages, stage) is None]
    if missing:
        raise UsageError(
            f"--lockstep free needs every stage, and {path.name} lacks {', '.join(missing)}; use staged"
        )


class FreeRunner(TurnsRunner):
    """Decodes turns on one path."""

    def __init__(
        self,
        path: DecodePath,
        settings: DecodeSettings,
        pair: ModelPair,
        log: RunLog,
        watch: LiveWatch,
        *,
        user_code: UserCode | None = None,
    ) -> None:
        require_all_stages(path)
        super().__init__(path, settings, log, watch, user_code=user_code)
        self._eos = pair.eos_token_ids
        self._name = "reference" if path.name == "reference" else "fused"
        self._sizes = result_sizes(pair, settings)

    def _turn(self, turn_state: TurnState, prompt: list[int], tick: Tick) -> None:
        self.log.open_step(turn_state.prompt_id, turn_state.turn, 0)
        stages = self._stages(turn_state, StepResults(committed_len=len(prompt)))
        try:
            begin_turn(self._under_test, turn_state, prompt, self._eos, stages)
            if turn_state.ended:
                self._close_without_step(turn_state, stages)
            while not turn_state.ended:
                num_emitted = len(turn_state.emitted)
                run_step(self._under_test, turn_state.remaining, stages)
                self._close(turn_state, stages)
                tick(len(turn_state.emitted) - num_emitted)
                if not turn_state.ended:
                    stages = self._stages(turn_state, StepResults(committed_len=len(turn_state.committed)))
                    self.log.open_step(turn_state.prompt_id, turn_state.turn, turn_state.step)
        except EnvironmentProblemError:
            raise  # the disk or the device, not the path
        except StageFailedError as failure:
            stages.take_windows(failure.stage)
            self._end(failure.stage, (*stages.findings, *failure.findings))
        except Exception as error:  # noqa: BLE001  a port may raise anything: a finding, never a crash of ours
            self._end(stages.stage, (*stages.findings, *findings_of_failure(turn_state, stages.stage, error)))

    def _stages_judged(self, tally: Tally) -> Part:  # noqa: ARG002 rules alone look into the stages
        return self.log.rules_and_stages()[1]

    def _stages(self, turn_state: TurnState, results: StepResults) -> _FreeStages:
        return _FreeStages(self._under_test, turn_state, results, self._sizes, self.log)

    def _end(self, stage: str, findings: tuple[Finding, ...]) -> None:
        """End the run inside a step, with these findings."""
        self.log.record(self._name, {"launch_refused": f"{stage}: not finished, the run ends here"})
        self.log.add(findings)
        self.log.abandon_step()
        self.stopped = True

    def _close_without_step(self, turn_state: TurnState, stages: _FreeStages) -> None:
        """Close the row of a turn that ends with its first token; it records that no step ran."""
        columns = path_columns(turn_state, stages.results, self._settings, self._watch.probe)
        self.log.record(self._name, columns | dict(self.indices.take()) | ended_at_root(turn_state))
        self.log.close_step(self.log.add([*stages.findings, *self._watch.take_findings()]))

    def _close(self, turn_state: TurnState, stages: _FreeStages) -> None:
        results = stages.results
        columns = path_columns(turn_state, results, self._settings, self._watch.probe)
        if results.committed is not None:  # here the path's own count is what is checked
            columns["committed_len"] = results.committed.committed_len
        self.log.record(self._name, columns | dict(self.indices.take()))
        checked = self.log.check_row(self._name)
        if _told_by_commit_alone(turn_state, results):
            checked = tuple(map(_as_commits, checked))
        found = [*stages.findings, *self._watch.take_findings(), *checked]
        found = list(self.log.add(found))
        self.log.close_step(found)
        assert results.tensorized is not None
        assert results.accepted is not None
        turn_state.take_step(results.tensorized, results.accepted)


def _told_by_commit_alone(turn_state: TurnState, results: StepResults) -> bool:
    """Whether commit told another length than that at which the tree was placed, which is the right one."""
    committed, tensorized, right = results.committed, results.tensorized, len(turn_state.committed)
    if committed is None or tensorized is None or committed.committed_len == right:
        return False
    return bool(tensorized.position_ids[0] == right)


def _as_commits(finding: Finding) -> Finding:
    """Charge commit with what hangs on the length."""
    rule = BY_ID.get(finding.rule)
    if rule is None or "committed_len" not in rule.arguments:
        return finding
    follows = finding.consequence or not finding.column.startswith("committed_len")
    return replace(finding, moment=finding.moment.at("commit"), consequence=follows)


class _FreeStages(CheckedStages):
    """Observes one step of a path that runs on its own outputs."""

    def __init__(
        self,
        path: PathUnderTest,
        turn_state: TurnState,
        results: StepResults,
        sizes: Mapping[str, int],
        log: RunLog,
    ) -> None:
        super().__init__(path, turn_state, results, sizes, log.announce)
        self._log = log
        self.findings: list[Finding] = []

    def take_windows(self, stage: str) -> None:
        """Take over what the path's windows raised around a stage."""
        self.findings.extend(findings_of_windows(self.path, self.turn_state, stage))

    def check_inputs(self, stage: str) -> None:
        self.findings.extend(written_into(stage, self.turn_state.moment, self.results, self.sizes))

    def after_stage(self, stage: str, result: Any) -> None:
        super().after_stage(stage, result)
        self.take_windows(stage)
        if stage == "accept":
            self.require_followable()
        if stage != "prefill":
            self._log.expect(expected_at_launches(stage, self.results), copied_by_tensorize(self.results))
