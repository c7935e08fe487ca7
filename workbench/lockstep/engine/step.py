"""One step of a path: the only place that runs draft, tensorize, verify, accept and commit in order.

Judged runs, free runs, benchmarks, faults and calibration differ only in their observer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

from tracing.errors import UsageError
from tracing.stages import Accepted, Committed, Drafted, Prefilled, Tensorized, Verified
from workbench.judge.turn_state import TurnState
from workbench.lockstep.engine.under_test import PathUnderTest
from workbench.lockstep.engine.user_code import UserCodeError


class StageObserver(Protocol):
    """Follows the stages of one step; may take over where the path has no result."""

    def before_stage(self, stage: str) -> None:
        """Called before a stage runs, or is filled."""
        ...

    def after_stage(self, stage: str, result: Any) -> None:
        """Called with the object that the path returned, or that `fill` did; later stages get this object."""
        ...

    def fill(self, stage: str, arguments: tuple[Any, ...], error: Exception | None) -> Any:
        """Return the result of a stage that the path lacks, or that did not finish.

        Args:
            stage: Which stage.
            arguments: What the stage was called with, or would have been.
            error: What it raised; a refused launch is a `LaunchRefusedError`. None where the path has no
                such stage.

        Raises:
            Exception: The step ends here.
        """
        ...


class NullObserver:
    """Observes nothing and fills nothing."""

    def before_stage(self, stage: str) -> None:
        """Do nothing."""

    def after_stage(self, stage: str, result: Any) -> None:
        """Do nothing."""

    def fill(self, stage: str, arguments: tuple[Any, ...], error: Exception | None) -> Any:  # noqa: ARG002 the protocol
        """Let the stage's error pass.

        Raises:
            UsageError: The path has no such stage.
        """
        if isinstance(error, UserCodeError) and isinstance(error.__cause__, Exception):
            raise error.__cause__
        raise error or UsageError(f"the path has no stage {stage}")


NULL_OBSERVER: Final = NullObserver()


class StepOutput(NamedTuple):
    """The very objects that the stages of one step returned."""

    drafted: Drafted
    tensorized: Tensorized
    verified: Verified
    accepted: Accepted
    committed: Committed


def run_stage(path: PathUnderTest, stage: str, *arguments: Any, observer: StageObserver) -> Any:
    """Run one stage under an observer and return its result."""
    observer.before_stage(stage)
    if path.provides(stage):
        try:
            result = path.call(stage, *arguments)
        except Exception as error:  # noqa: BLE001  a port may raise anything; the observer decides
            result = observer.fill(stage, arguments, error)
    else:
        result = observer.fill(stage, arguments, None)
    observer.after_stage(stage, result)
    return result


def run_prefill(
    path: PathUnderTest, prompt: Sequence[int], observer: StageObserver = NULL_OBSERVER
) -> Prefilled:
    """Run prefill on the token ids of a context."""
    prefilled: Prefilled = run_stage(path, "prefill", list(prompt), observer=observer)
    return prefilled


def run_step(path: PathUnderTest, remaining: int, observer: StageObserver = NULL_OBSERVER) -> StepOutput:
    """Run one step; `remaining` tokens may still be emitted."""
    drafted = run_stage(path, "draft", observer=observer)
    tensorized = run_stage(path, "tensorize", drafted, observer=observer)
    verified = run_stage(path, "verify", tensorized, observer=observer)
    accepted = run_stage(path, "accept", tensorized, verified, remaining, observer=observer)
    committed = run_stage(path, "commit", tensorized, verified, accepted, observer=observer)
    return StepOutput(drafted, tensorized, verified, accepted, committed)


def begin_turn(
    path: PathUnderTest,
    turn_state: TurnState,
    prompt: Sequence[int],
    eos_token_ids: frozenset[int],
    observer: StageObserver = NULL_OBSERVER,
) -> None:
    """Prefill a context and emit the turn's first token."""
    turn_state.enter(prompt, run_prefill(path, prompt, observer).context_token_ids)
    turn_state.stop_at_root(eos_token_ids)


def steps_of_turn(
    path: PathUnderTest, turn_state: TurnState, observer: StageObserver = NULL_OBSERVER
) -> Iterator[StepOutput]:
    """Run the steps of a turn on the path's own outputs; yields each when `turn_state` has taken it."""
    while not turn_state.ended:
        output = run_step(path, turn_state.remaining, observer)
        turn_state.take_step(output.tensorized, output.accepted)
        yield output
