"""The path under test, driven stage by stage: what each stage gave, its time, what its caches held."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracing.moment import STAGES
from tracing.stages import (
    Accepted,
    Committed,
    DecodePath,
    Drafted,
    Prefilled,
    StageWatch,
    Tensorized,
    Verified,
)
from workbench.lockstep.digests import kv_row_digests
from workbench.lockstep.indices import Around

Digests = NDArray[np.uint64]


@dataclass(slots=True)
class StepResults:
    """What one step gave, stage by stage; None where a stage did not run or the path cannot tell.

    Attributes:
        committed_len: L before the step.
        rows_before, branch_rows, rows_after: Digests of cache rows: `[L]`, `[N]`, `[L + A + 1]`.
        rows_verified: Digests of the committed rows right after verify, `[L]`.
        lengths_after: Length of each layer of the committed cache.
        drafter_lengths: Length of each layer of the drafter's cache after the draft.
        node_kv: K and V of the tree's rows, `[layers, 2, kv_heads, N, D]`.
        drafter_kv: Drafter K and V of the committed rows, `[1, 2, kv_heads, L, D]`.
        nanoseconds: Per stage.
        filled_by_reference: Stages whose result came from the reference for lack of their own.
        eager: The same step on the reference's values alone, when a launch of the path was refused.
        inputs: Stage to the very object that the path gave, or to a copy of what the reference gave in its
            place: later stages of the path get that one, while everybody else works on a copy that the path
            cannot write into.
    """

    committed_len: int = 0
    prefilled: Prefilled | None = None
    drafted: Drafted | None = None
    tensorized: Tensorized | None = None
    verified: Verified | None = None
    accepted: Accepted | None = None
    committed: Committed | None = None
    prefill_kv: Any = None
    rows_before: Digests | None = None
    rows_verified: Digests | None = None
    branch_rows: Digests | None = None
    rows_after: Digests | None = None
    lengths_after: tuple[int, ...] | None = None
    drafter_lengths: tuple[int, ...] | None = None
    node_kv: Any = None
    drafter_kv: Any = None
    nanoseconds: dict[str, int] = field(default_factory=dict)
    filled_by_reference: set[str] = field(default_factory=set)
    eager: StepResults | None = None
    inputs: dict[str, Any] = field(default_factory=dict)

    def own(self, stage: str) -> bool:
        """Tell whether the result of a stage, if there is one, is the path's own."""
        return stage not in self.filled_by_reference

    def done(self) -> tuple[str, ...]:
        """Return the stages that have a result, in order."""
        values = (self.prefilled, self.drafted, self.tensorized, self.verified, self.accepted, self.committed)
        return tuple(stage for stage, value in zip(STAGES, values, strict=True) if value is not None)


@dataclass(slots=True)
class PathUnderTest:
    """Drives one `DecodePath` and reads its caches, changing nothing.

    Attributes:
        path: What is driven.
        state: Its private state.
        around: Each stage runs inside one of these.
    """

    path: DecodePath
    state: Any
    around: Around = nullcontext

    @classmethod
    def begin(cls, path: DecodePath, watch: StageWatch, around: Around = nullcontext) -> PathUnderTest:
        """Begin with a fresh state that reports to `watch`."""
        return cls(path, path.begin(watch), around)

    def provides(self, stage: str) -> bool:
        """Tell whether the path has this stage."""
        return getattr(self.path.stages, stage) is not None

    def run(self, results: StepResults, stage: str, *arguments: Any) -> Any:
        """Run one stage of the path on its state and time it."""
        function = getattr(self.path.stages, stage)
        with _timed(results, stage), self.around():
            return function(self.state, *arguments)

    def main_rows(self) -> Digests | None:
        """Digest the committed cache, row by row."""
        lengths = self.lengths("main")
        if not lengths:
            return None
        rows = self.rows("main", range(min(lengths)))
        return None if rows is None else kv_row_digests(rows)

    def rows(self, cache: str, positions: Sequence[int] | range) -> Any:
        """Copy cache rows, or None where the path has no such window."""
        lengths = self.lengths(cache)
        if self.path.kv_rows is None or not positions or (lengths and max(positions) >= min(lengths)):
            return None  # no window, or a cache that is shorter than it should be: the length laws say so
        return self.path.kv_rows(self.state, cache, np.asarray(list(positions), dtype=np.int64))

    def lengths(self, cache: str) -> tuple[int, ...] | None:
        """Length of each layer of a cache, or None."""
        return self.path.kv_lengths(self.state, cache) if self.path.kv_lengths else None

    def snapshot(self) -> PathUnderTest | None:
        """Return a path that stands where this one stands now, or None if the state cannot be copied."""
        if self.path.snapshot is None:
            return None
        return PathUnderTest(self.path, self.path.snapshot(self.state))


@contextmanager
def _timed(results: StepResults, stage: str) -> Iterator[None]:
    start = time.perf_counter_ns()
    try:
        yield
    finally:
        results.nanoseconds[stage] = results.nanoseconds.get(stage, 0) + time.perf_counter_ns() - start
