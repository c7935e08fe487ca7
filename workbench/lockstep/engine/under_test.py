"""The path under test, run stage by stage: results, times and cache rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracing.draws import DrawTape
from tracing.results import RESULT_OF_STAGE
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
from workbench.lockstep.tensors.digests import kv_row_digests

Around = Callable[[str], AbstractContextManager[Any]]
Digests = NDArray[np.uint64]
RESULT_FIELDS: Final[Mapping[str, str]] = {
    stage: result.__name__.lower() for stage, result in RESULT_OF_STAGE.items()
}
"""Stage to the field of `StepResults` that holds its result."""


@dataclass(slots=True)
class StepResults:
    """Results of one step, stage by stage; None where a stage did not run or the path has no such window.

    Attributes:
        committed_len: L before the step.
        rows_before, branch_rows, rows_after: Digests of cache rows: `[L]`, `[N]`, `[L + A + 1]`.
        rows_verified: Digests of the committed rows right after verify, `[L]`.
        lengths_after: Length of each layer of the committed cache.
        drafter_lengths: Length of each layer of the drafter's cache after the draft.
        node_kv: K and V of the tree's rows, `[layers, 2, kv_heads, N, D]`.
        drafter_kv: Drafter K and V of the committed rows, `[1, 2, kv_heads, L, D]`.
        nanoseconds: Per stage.
        filled_by_reference: Stages whose result came from the reference because the path has no such stage.
        eager: The same step on the reference's values alone, when a launch of the path was refused.
        draws: Stage to the uniforms that it took, in order; empty in greedy decoding.
        inputs: Stage to the very object that later stages of the path get: what the path gave, or what the
            reference gave in its place. The fields above hold copies that the path cannot write into.
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
    draws: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)

    def own(self, stage: str) -> bool:
        """Return whether the result of a stage, if there is one, is the path's own."""
        return stage not in self.filled_by_reference

    def keep(self, stage: str, result: Any) -> None:
        """Set the result of a stage."""
        setattr(self, RESULT_FIELDS[stage], result)

    def done(self) -> tuple[str, ...]:
        """Return the stages that have a result, in order."""
        return tuple(stage for stage, name in RESULT_FIELDS.items() if getattr(self, name) is not None)


@dataclass(slots=True)
class PathUnderTest:
    """Drives one `DecodePath` and reads its caches, changing nothing.

    Attributes:
        path: What is driven.
        state: Its private state.
        around: Makes the context that a stage runs in, given its name, or None.
        draws: The tape that the path's chooser draws from; None for a path that declares no chooser.
    """

    path: DecodePath
    state: Any
    around: Around | None = None
    draws: DrawTape | None = None

    @classmethod
    def begin(
        cls,
        path: DecodePath,
        watch: StageWatch,
        around: Around | None = None,
        draws: DrawTape | None = None,
    ) -> PathUnderTest:
        """Begin with a fresh state that reports to `watch`; a path that samples draws from `draws`."""
        if path.chooser is None:
            return cls(path, path.begin(watch), around)
        draws = draws or DrawTape.seeded(0)
        return cls(path, path.begin(watch, path.chooser(draws)), around, draws)

    def provides(self, stage: str) -> bool:
        """Return whether the path has this stage."""
        return getattr(self.path.stages, stage) is not None

    def call(self, stage: str, *arguments: Any) -> Any:
        """Call a stage of the path on its state."""
        function = getattr(self.path.stages, stage)
        if self.around is None:
            return function(self.state, *arguments)
        with self.around(stage):
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
            return None  # no window, or a cache that is shorter than it should be: the length rules report it
        return self.path.kv_rows(self.state, cache, np.asarray(list(positions), dtype=np.int64))

    def lengths(self, cache: str) -> tuple[int, ...] | None:
        """Length of each layer of a cache, or None."""
        return self.path.kv_lengths(self.state, cache) if self.path.kv_lengths else None

    def snapshot(self) -> PathUnderTest | None:
        """Return a path with a copy of this one's state, or None if it cannot be copied."""
        if self.path.snapshot is None:
            return None
        return PathUnderTest(self.path, self.path.snapshot(self.state))
