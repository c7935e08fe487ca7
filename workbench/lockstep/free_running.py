"""A path that lives on its own outputs: decoded, recorded and checked, compared with nobody."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tracing.errors import EnvironmentProblemError, UsageError
from tracing.finding import Finding
from tracing.models import ModelPair
from tracing.moment import STAGES
from tracing.settings import DecodeSettings
from tracing.stages import DecodePath
from workbench.lockstep.digests import kv_row_digests
from workbench.lockstep.failures import finding_of_invalid_result, findings_of_failure
from workbench.lockstep.ledger import Ledger
from workbench.lockstep.rows import path_columns
from workbench.lockstep.stage_inputs import changed_by_tensorize, expected_at_launches
from workbench.lockstep.stage_validation import InvalidStageResultError, validated
from workbench.lockstep.turn_state import TurnState
from workbench.lockstep.turns import Turn
from workbench.lockstep.under_test import Digests, PathUnderTest, StepResults
from workbench.lockstep.watch import LiveWatch

Tick = Callable[[int], None]


def require_all_stages(path: DecodePath) -> None:
    """Refuse a path that cannot decode alone.

    Raises:
        UsageError: A stage is missing.
    """
    missing = [stage for stage in STAGES if getattr(path.stages, stage) is None]
    if missing:
        raise UsageError(
            f"--lockstep free needs every stage, and {path.name} lacks {', '.join(missing)}; use staged"
        )


class FreeRunner:
    """Decodes turns on one path.

    Attributes:
        finished: Every turn so far.
        stopped: True when a stage did not finish.
        indices: The index watch beside the path, if asked for.
    """

    def __init__(
        self,
        path: DecodePath,
        settings: DecodeSettings,
        pair: ModelPair,
        ledger: Ledger,
        watch: LiveWatch,
    ) -> None:
        require_all_stages(path)
        self._name = "reference" if path.name == "reference" else "fused"
        self._settings = settings
        self._eos = pair.eos_token_ids
        self._sizes = {
            "N": settings.tree_nodes,
            "V": pair.teacher.vocab_size,
            "F": len(pair.drafter.aux_layers) * pair.teacher.hidden_size,
        }
        self._ledger = ledger
        self._watch = watch
        self.indices = watch.indices
        self._under_test = PathUnderTest.begin(path, watch, self.indices.around)
        self.finished: list[TurnState] = []
        self.stopped = False

    def run(self, turns: Sequence[Turn], tick: Tick) -> None:
        """Decode all turns."""
        so_far: dict[int, list[int]] = {}
        for turn in turns:
            if self.stopped:
                return
            prompt = turn.context(so_far.get(turn.prompt_id, []))
            turn_state = TurnState(turn.prompt_id, turn.turn, self._settings.max_new_tokens)
            self.finished.append(turn_state)
            self._turn(turn_state, prompt, tick)
            so_far[turn.prompt_id] = [*prompt, *turn_state.emitted]

    def _turn(self, turn_state: TurnState, prompt: list[int], tick: Tick) -> None:
        results = StepResults(committed_len=len(prompt))
        self._ledger.open_step(turn_state.prompt_id, turn_state.turn, 0)
        stage = "prefill"
        try:
            results.prefilled = self._stage(stage, results, prompt)
            turn_state.enter(prompt, results.prefilled)
            turn_state.emit_root(self._eos)
            while turn_state.stop_reason is None:
                num_emitted = len(turn_state.emitted)
                for stage in STAGES[1:]:
                    self._run(stage, turn_state, results)
                    self._ledger.expect(expected_at_launches(stage, results), changed_by_tensorize(results))
                self._close(turn_state, results)
                tick(len(turn_state.emitted) - num_emitted)
                if turn_state.stop_reason is None:
                    results = StepResults(committed_len=len(turn_state.committed))
                    self._ledger.open_step(turn_state.prompt_id, turn_state.turn, turn_state.step)
        except EnvironmentProblemError:
            raise  # the disk or the device, not the path
        except InvalidStageResultError as invalid:
            self._end(stage, (finding_of_invalid_result(turn_state, stage, invalid),))
        except Exception as error:  # noqa: BLE001  a port may raise anything: a finding, never a crash of ours
            self._end(stage, findings_of_failure(turn_state, stage, error))

    def _end(self, stage: str, findings: tuple[Finding, ...]) -> None:
        """End the run inside a step, with what that means."""
        self._ledger.record(self._name, {"launch_refused": f"{stage}: not finished, the run ends here"})
        self._ledger.add(findings)
        self._ledger.abandon_step()
        self.stopped = True

    def _run(self, stage: str, turn_state: TurnState, results: StepResults) -> None:
        """Run one stage on the path's own results, the very objects that it gave."""
        under_test, given = self._under_test, results.inputs
        match stage:
            case "draft":
                results.drafted = self._stage(stage, results)
            case "tensorize":
                results.tensorized = self._stage(stage, results, given["draft"])
            case "verify":
                results.rows_before = under_test.main_rows()
                results.verified = self._stage(stage, results, given["tensorize"])
                results.branch_rows = self._branch_rows(results)
            case "accept":
                tree = given["tensorize"], given["verify"]
                results.accepted = self._stage(stage, results, *tree, turn_state.remaining)
                _check_followable(results)
            case _:
                tree = given["tensorize"], given["verify"]
                results.committed = self._stage(stage, results, *tree, given["accept"])
                results.rows_after = under_test.main_rows()

    def _stage(self, stage: str, results: StepResults, *arguments: Any) -> Any:
        """Run a stage and return an own copy of what it gave.

        Raises:
            InvalidStageResultError: That is no result of this stage.
        """
        results.inputs[stage] = self._under_test.run(results, stage, *arguments)
        return validated(stage, results.inputs[stage], {**self._sizes, "L": results.committed_len})

    def _branch_rows(self, results: StepResults) -> Digests | None:
        assert results.tensorized is not None
        tree = range(results.committed_len, results.committed_len + len(results.tensorized.token_ids))
        rows = self._under_test.rows("branch", tree)
        return None if rows is None else kv_row_digests(rows)

    def _close(self, turn_state: TurnState, results: StepResults) -> None:
        columns = path_columns(turn_state, results, self._settings, self._watch.probe)
        if results.committed is not None:
            columns["committed_len"] = (
                results.committed.committed_len
            )  # its own word: nobody else counts here
        self._ledger.record(self._name, columns | dict(self.indices.take()))
        self._watch.probe.clear()
        found = self._ledger.add([*self._watch.take_findings(), *self._ledger.check_row(self._name)])
        self._ledger.close_step(found[0].verdict if found else "ok")
        turn_state.take_step(results)


def _check_followable(results: StepResults) -> None:
    """Refuse accepted nodes that the tree does not have: a negative one would be followed from the end.

    Raises:
        InvalidStageResultError: There is one.
    """
    assert results.accepted is not None
    assert results.tensorized is not None
    nodes, num_nodes = results.accepted.accepted_nodes, len(results.tensorized.token_ids)
    if nodes.size and (nodes.min() < 0 or nodes.max() >= num_nodes):
        raise InvalidStageResultError("accepted_nodes", f"nodes 0..{num_nodes - 1}", str(nodes.tolist()))
