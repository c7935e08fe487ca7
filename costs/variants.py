"""One decode in several ways, step by step: bare, recorded at each level, checked live."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tracing.codec import row_columns
from tracing.recorder import Trace
from tracing.settings import DecodeSettings
from tracing.stages import DecodePath, NullWatch, StageWatch
from workbench.judge.turn_state import TurnState
from workbench.lockstep.engine.step import NullObserver, begin_turn, run_step
from workbench.lockstep.engine.under_test import PathUnderTest, StepResults
from workbench.lockstep.recording.columns import tree_columns, verify_columns
from workbench.lockstep.recording.rows import path_columns
from workbench.lockstep.recording.run_log import RunLog
from workbench.lockstep.recording.watch import LiveWatch
from workbench.lockstep.tensors.digests import kv_row_digests


class Variant(NullObserver):
    """One way of decoding, driven step by step; this one is not recorded.

    Attributes:
        seconds: Of each step so far.
        own: Of each step, what recording took.
    """

    def __init__(self, path: DecodePath, watch: StageWatch | None = None) -> None:
        self._path = PathUnderTest.begin(path, watch or NullWatch())
        self._turn = TurnState(0, 0, 1)
        self._own = 0.0
        self.seconds: list[float] = []
        self.own: list[float] = []

    def begin(self, prompt: Sequence[int], max_new_tokens: int) -> None:
        """Prefill a turn, untimed."""
        self.seconds, self.own = [], []
        self._turn = TurnState(0, 0, max_new_tokens)
        self.open_step()
        begin_turn(self._path, self._turn, prompt, frozenset())

    def step(self) -> None:
        """Run one step and time it."""
        self._own = 0.0
        start = time.perf_counter()
        if self._turn.step:
            with self.timed():
                self.open_step()
        output = run_step(self._path, self._turn.remaining, self)
        with self.timed():
            self.close_step()
        self.seconds.append(time.perf_counter() - start)
        self.own.append(self._own)
        self._turn.take_step(output.tensorized, output.accepted)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the time of a block as that of recording."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._own += time.perf_counter() - start

    def open_step(self) -> None:
        """Begin a step."""

    def close_step(self) -> None:
        """End a step."""

    def seal(self) -> float:
        """Seal what was recorded in all turns; return how long that took, in seconds."""
        return 0.0


class RecordedVariant(Variant):
    """Records each step as lockstep does: journal before a launch, digests and probes as the level asks.

    Args:
        path: What is decoded.
        trace: Where it is recorded, at its level.
        log: A log over that trace.
        settings: Of the decode.
        rules: Check every launch and every row, too.
    """

    def __init__(
        self, path: DecodePath, trace: Trace, log: RunLog, settings: DecodeSettings, *, rules: bool = False
    ) -> None:
        self._trace = trace
        self._log = log
        self._settings = settings
        self._rules = rules
        self._results = StepResults()
        self._start = 0
        live = LiveWatch(log.journal, log.check_before if rules else _no_rule, refuse=False)
        self._probe = live.probe
        super().__init__(path, _Timed(self, live, probes=trace.wants("draft_top1_offsets")))

    def open_step(self) -> None:
        """Open the row."""
        self._log.open_step(0, 0, self._turn.step)

    def before_stage(self, stage: str) -> None:
        """Start the clock of the stage."""
        if stage == "draft":
            self._results = StepResults(committed_len=len(self._turn.committed))
        self._start = time.perf_counter_ns()

    def after_stage(self, stage: str, result: Any) -> None:
        """Keep the result; digest the cache rows that a stage is about to read or has written."""
        elapsed = time.perf_counter_ns() - self._start
        with self.timed():
            results = self._results
            results.nanoseconds[stage] = elapsed
            results.keep(stage, result)
            if not self._trace.wants("kv_row_digests"):
                return
            if stage == "draft":
                results.rows_before = self._path.main_rows()
            elif stage == "verify":
                tree = range(results.committed_len, results.committed_len + len(result.visible))
                rows = self._path.rows("branch", tree)
                results.branch_rows = None if rows is None else kv_row_digests(rows)
            elif stage == "commit":
                results.rows_after = self._path.main_rows()

    def close_step(self) -> None:
        """Record and, if asked, check the row."""
        if not self._trace.wants("feature_row_digests"):
            columns = _basic_columns(self._turn, self._results, self._settings)
        else:
            columns = path_columns(self._turn, self._results, self._settings, self._probe)
        self._log.record("fused", columns)
        if self._rules:
            self._log.add(self._log.check_row("fused"))
        self._log.close_step()

    def seal(self) -> float:
        """Seal the pending steps; return the processor time, as a thread waits for the disk."""
        start = time.thread_time()
        self._trace.seal()
        return time.thread_time() - start


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

    def __init__(self, owner: RecordedVariant, live: LiveWatch, *, probes: bool) -> None:
        self._owner = owner
        self._live = live
        self._probes = probes

    def about_to_run(self, stage: str, columns: Any) -> None:
        with self._owner.timed():
            self._live.about_to_run(stage, columns)

    def saw_draft_attention(self, **given: Any) -> None:
        if self._probes:
            with self._owner.timed():
                self._live.saw_draft_attention(**given)
