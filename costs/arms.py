"""One decode in several ways, step by step: bare, recorded at each level, checked live."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tracing.codec import row_columns
from tracing.settings import DecodeSettings
from tracing.stages import DecodePath, NullWatch, StageWatch
from workbench.judge.turn_state import TurnState
from workbench.lockstep.columns import tree_columns, verify_columns
from workbench.lockstep.digests import kv_row_digests
from workbench.lockstep.engine.step import NullObserver, begin_turn, run_step
from workbench.lockstep.rows import path_columns
from workbench.lockstep.run_log import RunLog
from workbench.lockstep.under_test import PathUnderTest, StepResults
from workbench.lockstep.watch import LiveWatch


class Nobody:
    """What stands beside an unrecorded decode.

    Attributes:
        watch: What the path reports to.
        own_seconds: Time that went by inside it.
    """

    watch: StageWatch = NullWatch()
    own_seconds = 0.0

    def open(self, number: int) -> None:
        """Begin a step."""

    def after(self, under_test: PathUnderTest, results: StepResults, stage: str) -> None:
        """Look at what a stage has left."""

    def close(self, turn_state: TurnState, results: StepResults) -> None:
        """Take the whole step."""


class Recording(Nobody):
    """Records each step as lockstep does: journal before a launch, digests and probes as the level asks.

    Args:
        log: A log over a trace of that level.
        settings: Of the decode.
        level: `basic`, `digest` or `full`.
        rules: Check every launch and every row, too.
    """

    def __init__(self, log: RunLog, settings: DecodeSettings, *, level: str, rules: bool = False) -> None:
        self._log = log
        self._settings = settings
        self._level = level
        self._rules = rules
        live = LiveWatch(log.journal, log.check_before if rules else _no_rule, refuse=False)
        self._probe = live.probe
        self.watch = _Timed(self, live, probes=level == "full")

    def open(self, number: int) -> None:
        """Open the row."""
        self._log.open_step(0, 0, number)

    def after(self, under_test: PathUnderTest, results: StepResults, stage: str) -> None:
        """Digest the cache rows that a stage is about to read or has written."""
        if self._level == "basic":
            return
        if stage == "draft":
            results.rows_before = under_test.main_rows()
        elif stage == "verify":
            assert results.tensorized is not None
            tree = range(results.committed_len, results.committed_len + len(results.tensorized.token_ids))
            rows = under_test.rows("branch", tree)
            results.branch_rows = None if rows is None else kv_row_digests(rows)
        elif stage == "commit":
            results.rows_after = under_test.main_rows()

    def close(self, turn_state: TurnState, results: StepResults) -> None:
        """Record and, if asked, check the row."""
        if self._level == "basic":
            columns = _basic_columns(turn_state, results, self._settings)
        else:
            columns = path_columns(turn_state, results, self._settings, self._probe)
            self._probe.clear()
        self._log.record("fused", columns)
        if self._rules:
            self._log.add(self._log.check_row("fused"))
        self._log.close_step("ok")


def _basic_columns(turn_state: TurnState, results: StepResults, settings: DecodeSettings) -> dict[str, Any]:
    """Return the columns of level `basic`; no digest is made in vain."""
    assert results.drafted is not None
    assert results.tensorized is not None
    assert results.verified is not None
    assert results.accepted is not None
    assert results.committed is not None
    return {
        "context_token_ids": turn_state.context,
        **tree_columns(results.drafted, results.tensorized),
        **verify_columns(results.verified, settings.top_logits),
        **row_columns(results.accepted),
        **row_columns(results.committed),
        **{f"{stage}_ns": elapsed for stage, elapsed in results.nanoseconds.items()},
    }


def _no_rule(stage: str, columns: Any) -> tuple[()]:  # noqa: ARG001 the type of a live check
    return ()


class _Timed(NullWatch):
    """The watch of a recording; its time counts as the recording's own. It probes only when asked."""

    def __init__(self, owner: Recording, live: LiveWatch, *, probes: bool) -> None:
        self._owner = owner
        self._live = live
        self._probes = probes

    def about_to_run(self, stage: str, columns: Any) -> None:
        with timed(self._owner):
            self._live.about_to_run(stage, columns)

    def saw_draft_attention(self, **given: Any) -> None:
        if self._probes:
            with timed(self._owner):
                self._live.saw_draft_attention(**given)


@contextmanager
def timed(owner: Nobody) -> Iterator[None]:
    """Add the time of a block to what is the owner's own."""
    start = time.perf_counter()
    try:
        yield
    finally:
        owner.own_seconds += time.perf_counter() - start


class Arm:
    """One way of decoding, driven step by step.

    Attributes:
        seconds: Of each step so far.
        own: Of each step, what the one beside it took.
    """

    def __init__(
        self, path: DecodePath, beside: Nobody | None = None, seal: Callable[[], None] = lambda: None
    ) -> None:
        """Decode on `path` with somebody `beside` it; `seal` writes pending steps."""
        self._beside = beside or Nobody()
        self._seal = seal
        self._under_test = PathUnderTest.begin(path, self._beside.watch)
        self._progress = TurnState(0, 0, 1)
        self.seconds: list[float] = []
        self.own: list[float] = []

    def begin(self, prompt: Sequence[int], max_new_tokens: int) -> None:
        """Prefill a turn, untimed."""
        self.seconds, self.own = [], []
        self._progress = TurnState(0, 0, max_new_tokens)
        self._beside.open(0)
        begin_turn(self._under_test, self._progress, prompt, frozenset())

    def step(self) -> None:
        """Run one step and time it."""
        under_test, turn_state, beside = self._under_test, self._progress, self._beside
        results = StepResults(committed_len=len(turn_state.committed))
        beside.own_seconds = 0.0
        start = time.perf_counter()
        if turn_state.step:
            with timed(beside):
                beside.open(turn_state.step)
        run_step(under_test, turn_state.remaining, _Followed(self, results))
        with timed(beside):
            beside.close(turn_state, results)
        self.seconds.append(time.perf_counter() - start)
        self.own.append(beside.own_seconds)
        assert results.tensorized is not None
        assert results.accepted is not None
        turn_state.take_step(results.tensorized, results.accepted)

    def after(self, stage: str, results: StepResults) -> None:
        """Let the one beside it see a stage's result."""
        with timed(self._beside):
            self._beside.after(self._under_test, results, stage)

    def seal(self) -> float:
        """Seal what was recorded in all turns; return how long that took, in seconds."""
        start = time.perf_counter()
        self._seal()
        return time.perf_counter() - start


class _Followed(NullObserver):
    """Keeps what stages give, with its time, and shows it to the one beside the arm."""

    def __init__(self, arm: Arm, results: StepResults) -> None:
        self._arm = arm
        self._results = results
        self._start = 0

    def before_stage(self, stage: str) -> None:  # noqa: ARG002 the protocol
        self._start = time.perf_counter_ns()

    def after_stage(self, stage: str, result: Any) -> None:
        self._results.nanoseconds[stage] = time.perf_counter_ns() - self._start
        self._results.keep(stage, result)
        self._arm.after(stage, self._results)
