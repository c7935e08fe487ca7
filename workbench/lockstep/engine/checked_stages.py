"""The observer of a recorded step: results are checked in form, copied and timed, caches are digested."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tracing.errors import EnvironmentProblemError
from tracing.finding import Finding
from tracing.models import ModelPair
from tracing.settings import DecodeSettings
from tracing.stage_validation import InvalidStageResultError
from workbench.judge.turn_state import TurnState
from workbench.lockstep.engine.failures import finding_of_invalid_result, findings_of_failure
from workbench.lockstep.engine.under_test import PathUnderTest, StepResults
from workbench.lockstep.engine.user_code import UserCodeError
from workbench.lockstep.tensors.digests import kv_row_digests
from workbench.lockstep.tensors.host import validated


class StageFailedError(Exception):
    """A stage of the path under test did not finish and the step ends here; not an error of the workbench.

    Attributes:
        stage: Which stage.
        findings: The findings about it.
    """

    def __init__(self, stage: str, findings: tuple[Finding, ...]) -> None:
        super().__init__(stage)
        self.stage = stage
        self.findings = findings


class CheckedStages:
    """Observes a path that has every stage.

    Attributes:
        path: The path that runs.
        turn_state: The turn, as it is before the step.
        results: Filled with copies of the stages' results.
        stage: The last stage that began, or empty.
    """

    def __init__(
        self,
        path: PathUnderTest,
        turn_state: TurnState,
        results: StepResults,
        sizes: Mapping[str, int],
        announce: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Observe one step.

        Args:
            path: The path that runs.
            turn_state: The turn, as it is before the step.
            results: Filled with copies of the stages' results.
            sizes: The dimensions N, V and F of its results.
            announce: Called with a stage of the path that is about to be called.
        """
        self.path = path
        self.turn_state = turn_state
        self.results = results
        self.sizes = {**sizes, "L": results.committed_len}
        self.stage = ""
        self._announce = announce
        self._start = 0
        self._first_draw = 0

    def before_stage(self, stage: str) -> None:
        """Announce the stage, digest the committed rows before verify, then start the clock."""
        self.stage = stage
        if self.path.provides(stage):
            self._announce(stage)
        if stage == "verify":
            self.results.rows_before = self.path.main_rows(self.results.committed_len)
        self._mark_draws()
        self._start = time.perf_counter_ns()

    def _mark_draws(self) -> None:
        """Note where the stage's draws begin, and the step's."""
        tape, results = self.path.draws, self.results
        self._first_draw = 0 if tape is None else tape.num_used
        if tape is not None and not results.draws:
            results.seed, results.draw_position = tape.seed, tape.position

    def after_stage(self, stage: str, result: Any) -> None:
        """Keep a copy of a result and read the cache rows that its stage wrote.

        Raises:
            StageFailedError: That is no result of this stage.
        """
        self.stop_clock(stage)
        if self.path.draws is not None:
            self.results.draws[stage] = self.path.draws.used_since(self._first_draw)
        self.check_inputs(stage)
        self.results.inputs[stage] = result
        try:
            self.results.keep(stage, self.path.user_code.run("result", self._copied, stage, result))
        except InvalidStageResultError as invalid:
            raise self.invalid(stage, invalid) from invalid
        except UserCodeError as error:
            raise StageFailedError(stage, findings_of_failure(self.turn_state, stage, error)) from error
        if stage == "verify":
            self.path.look_at_static_inputs(self.results.tensorized, self.turn_state.moment.at(stage))
        self.read_caches(stage)

    def _copied(self, stage: str, result: Any) -> Any:
        if stage == "tensorize":
            self.sizes["N"] = num_rows(self.sizes["N"], self.results, result)
        return validated(stage, result, self.sizes)

    def fill(self, stage: str, arguments: tuple[Any, ...], error: Exception | None) -> Any:  # noqa: ARG002 the protocol
        """End the step: no stage is filled here.

        Raises:
            StageFailedError: With the finding about the stage's exception.
            EnvironmentProblemError: The stage's own; the disk or the device is at fault, not the path.
        """
        self.stop_clock(stage)
        if error is None or isinstance(error, EnvironmentProblemError):
            raise error or LookupError(stage)
        raise StageFailedError(stage, findings_of_failure(self.turn_state, stage, error)) from error

    def stop_clock(self, stage: str) -> None:
        """Add the time since the stage began to its time."""
        elapsed = time.perf_counter_ns() - self._start
        self.results.nanoseconds[stage] = self.results.nanoseconds.get(stage, 0) + elapsed

    def check_inputs(self, stage: str) -> None:
        """Check that a stage left its inputs as they were; not done here."""

    def read_caches(self, stage: str) -> None:
        """Digest the tree's rows after verify and the committed rows after commit."""
        results = self.results
        if stage == "verify" and results.tensorized is not None:
            num_nodes = len(results.tensorized.token_ids)
            tree = range(results.committed_len, results.committed_len + num_nodes)
            results.node_kv = self.path.rows("branch", tree)
            results.branch_rows = None if results.node_kv is None else kv_row_digests(results.node_kv)
        elif stage == "commit":
            results.rows_after = self.path.main_rows(results.kept_len)

    def require_followable(self) -> None:
        """Refuse accepted nodes that the tree does not have: a negative one would be taken from the end.

        Raises:
            StageFailedError: There is one.
        """
        tensorized, accepted = self.results.tensorized, self.results.accepted
        assert tensorized is not None
        assert accepted is not None
        nodes, num_nodes = accepted.accepted_nodes, len(tensorized.token_ids)
        if nodes.size and (nodes.min() < 0 or nodes.max() >= num_nodes):
            expected, came = f"nodes 0..{num_nodes - 1}", str(nodes.tolist())
            raise self.invalid("accept", InvalidStageResultError("accepted_nodes", expected, came))

    def invalid(self, stage: str, invalid: InvalidStageResultError) -> StageFailedError:
        """Return the error that ends a step at an invalid result."""
        return StageFailedError(stage, (finding_of_invalid_result(self.turn_state, stage, invalid),))


def num_rows(tree_nodes: int, results: StepResults, built: Any) -> int:
    """Return N of a step: that of the settings; 1 where only the root was drafted and has one row."""
    drafted = results.drafted
    root_alone = drafted is not None and len(drafted.token_ids) == 1
    shape: Any = np.shape(getattr(built, "token_ids", ()))
    return 1 if root_alone and shape == (1,) else tree_nodes


def result_sizes(pair: ModelPair, settings: DecodeSettings) -> dict[str, int]:
    """Return the dimensions of stage results that hold in every step: N, V and F; of experts M, E and X."""
    sizes = {
        "N": settings.tree_nodes,
        "V": pair.teacher.vocab_size,
        "F": pair.feature_width,
    }
    experts = pair.teacher.experts
    if experts is not None:
        sizes |= {"M": pair.teacher.num_layers, "E": experts.num_groups, "X": experts.num_experts}
    return sizes
