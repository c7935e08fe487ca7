"""One stage of one step, run again with its tensors kept: what the path was given, gave and computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tracing.draws import DrawTape
from tracing.errors import UsageError
from tracing.finding import Finding
from tracing.models import ModelPair
from tracing.moment import Moment
from tracing.stages import DecodePath, NullWatch
from workbench.locate.capture import MOST_BYTES, Capture, Wanted
from workbench.lockstep.engine.checked_stages import StageFailedError
from workbench.lockstep.engine.turn_state import FedTurnState
from workbench.lockstep.engine.under_test import PathUnderTest, StepResults
from workbench.lockstep.engine.user_code import UserCode
from workbench.lockstep.session.job import LockstepOptions
from workbench.lockstep.session.turns import Turn, with_prompts
from workbench.lockstep.staged.driver import Driver
from workbench.lockstep.truth.reference_runner import ReferenceRunner


@dataclass(frozen=True, slots=True)
class Subject:
    """A path under test with all that it takes to decode.

    Attributes:
        options: How it is decoded; greedy, or sampled with this seed.
        user_code: Calls the code of the path.
    """

    path: DecodePath
    runner: ReferenceRunner
    pair: ModelPair
    turns: Sequence[Turn]
    options: LockstepOptions
    dtype: str
    user_code: UserCode = field(default_factory=UserCode)
    most_bytes: int = MOST_BYTES


@dataclass(frozen=True, slots=True)
class StageRerun:
    """A stage that ran again.

    Attributes:
        prompt: Token ids of the turn's prefill.
        turn_state: The turn, as it was before the step.
        results: What the step gave, as far as it came.
        capture: The tensors of its networks.
        past: Cache rows that the stage began with, `[layers, 2, kv_heads, S, D]`: of the teacher's committed
            cache for verify, of the drafter's for draft; None where the path does not show them.
        failed: Findings of a stage that did not finish.
    """

    stage: str
    prompt: list[int]
    turn_state: FedTurnState
    results: StepResults
    capture: Capture
    past: Any = None
    left: Any = None
    failed: tuple[Finding, ...] = ()


AfterStage = Callable[[FedTurnState, StepResults, str, PathUnderTest], None]
"""`(turn, results, stage, path)`, after each stage of each step."""


def scene_at(
    subject: Subject,
    moment: Moment,
    wanted: Wanted = lambda _: True,
    after_stage: AfterStage = lambda *_: None,
) -> StageRerun:
    """Decode again up to a moment and keep what its stage gives of its networks.

    Args:
        subject: The path under test.
        moment: Prompt, turn, step and stage.
        wanted: Names of the tensors to keep.
        after_stage: Called on the way, up to the end of the moment's step.

    Raises:
        UsageError: The decode does not come to that moment.
    """
    take = _Take(subject, moment, wanted, after_stage)
    limit = subject.options.settings.max_new_tokens
    turns = with_prompts(subject.turns, lambda prompt_id, turn: FedTurnState(prompt_id, turn, limit))
    for turn_state, prompt in turns:
        is_here = (turn_state.prompt_id, turn_state.turn) == (moment.prompt_id, moment.turn)
        scene = take.turn(turn_state, prompt, is_here=is_here)
        if scene is not None:
            return scene
    raise UsageError(f"{moment} was not reached when the path ran again: it decodes otherwise now")


class _Take:
    def __init__(self, subject: Subject, moment: Moment, wanted: Wanted, after_stage: AfterStage) -> None:
        options = subject.options
        tape = DrawTape.seeded(options.seed, options.generator)
        self._subject, self._moment = subject, moment
        self._capture = Capture(wanted, subject.most_bytes)
        self._after_stage, self._armed = after_stage, False
        self._past: Any = None
        self._prompt: list[int] = []
        self._path = PathUnderTest(subject.path, None, self._around, tape, subject.user_code)
        self._path.start(NullWatch())
        self._driver = Driver(self._path, subject.runner, announce=self._announce)

    def turn(self, turn_state: FedTurnState, prompt: list[int], *, is_here: bool) -> StageRerun | None:
        """Decode a turn; return the scene if it lies in it."""
        stage = self._moment.stage
        self._prompt = prompt
        results = StepResults(committed_len=len(prompt))
        self._armed = is_here and stage == "prefill"
        try:
            prefilled = self._driver.prefill(turn_state, results, prompt)
        except StageFailedError as failure:
            return self._scene(turn_state, results, failure.findings)
        self._after_stage(turn_state, results, "prefill", self._path)
        if self._armed:
            return self._scene(turn_state, results)
        turn_state.enter(prompt, prefilled.context_token_ids)
        turn_state.features = prefilled.features
        turn_state.stop_at_root(self._subject.pair.eos_token_ids)
        while not turn_state.ended:
            self._armed = is_here and turn_state.step == self._moment.step
            try:
                self._driver.step(turn_state, results, partial(self._after, turn_state, results))
            except StageFailedError as failure:
                return self._scene(turn_state, results, failure.findings)
            if self._armed:
                return self._scene(turn_state, results)
            assert results.tensorized is not None
            assert results.verified is not None
            assert results.accepted is not None
            turn_state.take_features(results.verified, results.accepted)
            turn_state.take_step(results.tensorized, results.accepted)
            results = StepResults(committed_len=len(turn_state.committed))
        return None

    def _after(self, turn_state: FedTurnState, results: StepResults, stage: str) -> None:
        self._after_stage(turn_state, results, stage, self._path)

    def _scene(
        self, turn_state: FedTurnState, results: StepResults, failed: tuple[Finding, ...] = ()
    ) -> StageRerun:
        stage, prompt = self._moment.stage, self._prompt
        left = self._rows("main") if stage == "commit" else None
        return StageRerun(stage, prompt, turn_state, results, self._capture, self._past, left, failed)

    def _is_it(self, stage: str) -> bool:
        return self._armed and stage == self._moment.stage

    def _announce(self, stage: str) -> None:
        """Read the cache rows that the stage begins with."""
        cache = {"verify": "main", "draft": "drafter", "commit": "branch"}.get(stage)
        if cache is not None and self._is_it(stage):
            self._past = self._rows(cache)

    def _rows(self, cache: str) -> Any:
        lengths = self._path.lengths(cache)
        return self._path.rows(cache, range(min(lengths))) if lengths else None

    def _around(self, stage: str) -> AbstractContextManager[Any]:
        window = self._subject.path.intermediates
        if window is None or not self._is_it(stage):
            return nullcontext()
        return window(self._path.state, self._capture.give)
