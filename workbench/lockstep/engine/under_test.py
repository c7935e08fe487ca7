"""The path under test, run stage by stage: results, times and cache rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracing.draws import DrawTape
from tracing.moment import Moment
from tracing.results import RESULT_OF_STAGE
from tracing.stage_validation import InvalidStageResultError
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
from workbench.lockstep.engine.static_inputs import StaticInputs, checked_inputs
from workbench.lockstep.engine.user_code import UserCode, UserCodeError
from workbench.lockstep.tensors.digests import kv_row_digests
from workbench.lockstep.tensors.windows import checked_lengths, checked_rows

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
        seed, draw_position: Of the draws, and the place of the step's first among them; None: not of a seed.
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
    seed: int | None = None
    draw_position: int | None = None
    inputs: dict[str, Any] = field(default_factory=dict)

    def own(self, stage: str) -> bool:
        """Return whether the result of a stage, if there is one, is the path's own."""
        return stage not in self.filled_by_reference

    @property
    def kept_len(self) -> int:
        """Committed rows after the step, as the accepted path says."""
        return self.committed_len + (0 if self.accepted is None else len(self.accepted.path_indices))

    def keep(self, stage: str, result: Any) -> None:
        """Set the result of a stage."""
        setattr(self, RESULT_FIELDS[stage], result)

    def done(self) -> tuple[str, ...]:
        """Return the stages that have a result, in order."""
        return tuple(stage for stage, name in RESULT_FIELDS.items() if getattr(self, name) is not None)


@dataclass(slots=True)
class PathUnderTest:
    """Drives one `DecodePath` and reads its caches, changing nothing.

    What the code of the path raises comes as a `UserCodeError`. A window that raises, or gives what it should
    not, is closed: from then on the path has none, and `take_failures` tells why.

    Attributes:
        path: What is driven.
        state: Its private state.
        around: Makes the context that a stage runs in, given its name, or None.
        draws: The tape that the path's chooser draws from; None for a path that declares no chooser.
        user_code: Calls the code of the path.
        failures: What its windows raised, not yet taken.
        closed: Windows that are not asked any more.
        static: Follows the inputs of verify that the path declares to be static; None where it declares none,
            or nobody looks.
    """

    path: DecodePath
    state: Any
    around: Around | None = None
    draws: DrawTape | None = None
    user_code: UserCode = field(default_factory=UserCode)
    failures: list[UserCodeError | InvalidStageResultError] = field(default_factory=list)
    closed: set[str] = field(default_factory=set)
    static: StaticInputs | None = None

    @classmethod
    def begin(
        cls,
        path: DecodePath,
        watch: StageWatch,
        around: Around | None = None,
        draws: DrawTape | None = None,
        user_code: UserCode | None = None,
    ) -> PathUnderTest:
        """Begin with a fresh state that reports to `watch`; a path that samples draws from `draws`.

        Raises:
            UserCodeError: The path's `begin` or `chooser` raised.
        """
        under_test = cls(path, None, around, draws, user_code or UserCode())
        under_test.start(watch)
        return under_test

    def start(self, watch: StageWatch) -> None:
        """Take a fresh state of the path.

        Raises:
            UserCodeError: The path's `begin` or `chooser` raised.
        """
        given: tuple[Any, ...] = (watch,)
        if self.path.chooser is None:
            self.draws = None
        else:
            self.draws = self.draws or DrawTape.seeded(0)
            given = (watch, self.user_code.run("chooser", self.path.chooser, self.draws))
        self.state = self.user_code.run("begin", self.path.begin, *given)

    def provides(self, stage: str) -> bool:
        """Return whether the path has this stage."""
        return getattr(self.path.stages, stage) is not None

    def call(self, stage: str, *arguments: Any) -> Any:
        """Call a stage of the path on its state.

        Raises:
            UserCodeError: It raised.
        """
        function = getattr(self.path.stages, stage)
        return self.user_code.run(stage, self._inside, stage, function, *arguments)

    def _inside(self, stage: str, function: Callable[..., Any], *arguments: Any) -> Any:
        with ExitStack() as stack:
            if self.around is not None:
                stack.enter_context(self.around(stage))
            if self.static is not None and stage == "verify":
                stack.enter_context(self.static.watched())
            return function(self.state, *arguments)

    def follow_static_inputs(self) -> None:
        """Look at the declared inputs of verify from now on."""
        self.static = StaticInputs() if self.path.static_inputs is not None else None

    def look_at_static_inputs(self, step: Tensorized | None, at: Moment) -> None:
        """Compare the inputs of the verify launch that just ran with the declaration."""
        if self.static is None or step is None:
            return
        inputs = self._window("static_inputs", checked_inputs)
        if inputs:
            self.static.look(inputs, step, at)

    def main_rows(self, expected: int = 0) -> Digests | None:
        """Digest the committed cache, row by row.

        Args:
            expected: Rows that should be there, read where a path that commits does not say how many it has.
        """
        lengths = self.lengths("main")
        if lengths is None and self.provides("commit"):
            lengths = (expected,)
        rows = self.rows("main", range(min(lengths))) if lengths else None
        return None if rows is None else kv_row_digests(rows)

    def rows(self, cache: str, positions: Sequence[int] | range) -> Any:
        """Copy cache rows, or None where the path has no such window."""
        lengths = self.lengths(cache)
        if not positions or (lengths and max(positions) >= min(lengths)):
            return None  # a cache that is shorter than it should be: the length rules report it
        wanted = np.asarray(list(positions), dtype=np.int64)
        return self._window("kv_rows", lambda rows: checked_rows(rows, len(wanted)), cache, wanted)

    def lengths(self, cache: str) -> tuple[int, ...] | None:
        """Length of each layer of a cache, or None."""
        lengths: tuple[int, ...] | None = self._window("kv_lengths", checked_lengths, cache)
        return lengths

    def _window(self, name: str, checked: Callable[[Any], Any], *arguments: Any) -> Any:
        """Read a window and check what it gave; None where the path has none, or none any more."""
        function = getattr(self.path, name)
        if function is None or name in self.closed:
            return None
        try:
            given = self.user_code.run(name, function, self.state, *arguments)
            return None if given is None else self.user_code.run(name, checked, given)
        except (UserCodeError, InvalidStageResultError) as failure:
            self._close(name, failure)
            return None

    def snapshot(self) -> PathUnderTest | None:
        """Return a path with a copy of this one's state, or None if it cannot be copied."""
        if self.path.snapshot is None or "snapshot" in self.closed:
            return None
        try:
            state = self.user_code.run("snapshot", self.path.snapshot, self.state)
        except UserCodeError as failure:
            self._close("snapshot", failure)
            return None
        return PathUnderTest(self.path, state, user_code=self.user_code, closed=set(self.closed))

    def _close(self, name: str, failure: UserCodeError | InvalidStageResultError) -> None:
        self.closed.add(name)
        self.failures.append(failure)

    def take_failures(self) -> tuple[UserCodeError | InvalidStageResultError, ...]:
        """Return and forget what windows raised, or gave and should not."""
        failures, self.failures = tuple(self.failures), []
        return failures
