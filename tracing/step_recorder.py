"""Recording of one path: `Trace` hands out steps, a `Step` takes columns and ends as one row."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Literal, get_args

from tracing.columns import COLUMN_BY_NAME, KEY_COLUMNS
from tracing.errors import (
    EnvironmentProblemError,
    ShapeMismatchError,
    UnknownColumnError,
    UsageError,
    sentence_of,
)
from tracing.form import Form
from tracing.moment import STAGES
from tracing.open_step import OpenStep
from tracing.process import InsideError
from tracing.schema import column_named, columns_of_level
from tracing.settings import require_one_of
from tracing.values import Cells, Value, convert
from tracing.writer import PathWriter

OnError = Literal["raise", "warn"]
ON_ERROR: Final[tuple[str, ...]] = get_args(OnError)
MAX_STEP_BYTES: Final = 64 << 20

_log = logging.getLogger("specwb.trace")


class Trace:
    """The recorder of one path.

    Args:
        writer: Where rows go.
        level: `basic`, `digest` or `full`; columns above the level are left out.
        on_error: `raise`, or `warn`: never raise into the host, log each reason once, mark the step
            incomplete.

    Attributes:
        kept: Names of the columns that are kept at this level.
    """

    def __init__(self, writer: PathWriter, level: str = "full", on_error: OnError = "raise") -> None:
        require_one_of("on_error", on_error, ON_ERROR)
        self._writer = writer
        self.kept = columns_of_level(level)
        self._on_error = on_error
        self._reported: set[str] = set()

    @property
    def name(self) -> str:
        """Name of the path."""
        return self._writer.name

    @property
    def num_steps(self) -> int:
        """Finished steps so far."""
        return self._writer.num_steps

    @property
    def num_lost(self) -> int:
        """Finished steps that the disk did not take; the run says so."""
        return self._writer.num_lost

    @property
    def raises(self) -> bool:
        """Whether what is refused is raised into the host, which then knows of a misspelt name."""
        return self._on_error == "raise"

    def wants(self, name: str) -> bool:
        """Return whether a column is kept at this level, so that an engine computes only what is kept."""
        return name in self.kept

    def step(self, *, step: int, prompt_id: int = 0, turn: int = 0) -> Step:
        """Return the context of one step; several may be open at once (one per request of a batch)."""
        return Step(self, self._writer, (prompt_id, turn, step))

    def seal(self) -> None:
        """Seal finished steps now instead of at the next full batch."""
        try:
            self._writer.seal()
        except Exception as problem:  # noqa: BLE001 reported: raised, or logged in warn mode
            self.report(problem)

    def report(self, problem: Exception) -> None:
        """Raise the problem that is being handled, or log it once in `warn` mode."""
        if self._on_error == "raise":
            raise problem
        sentence = f"{type(problem).__name__}: {sentence_of(problem)}"
        key = "disk" if isinstance(problem, EnvironmentProblemError) else sentence
        if key not in self._reported and len(self._reported) < 1000:
            self._reported.add(key)
            _log.warning("path %s: %s", self.name, sentence)


class Step:
    """One step of one path; use it as a context manager.

    An exception that passes through ends the step as an incomplete row and is raised on.
    """

    def __init__(self, trace: Trace, writer: PathWriter, at: tuple[int, int, int]) -> None:
        self._trace = trace
        self._writer = writer
        self._kept = trace.kept
        self._form = Form()
        self._row: dict[str, Value] = {}
        self._fresh: dict[str, Value] = {}
        self._late: dict[str, tuple[int, ...]] = {}
        self._reasons: list[str] = []
        self._bytes = 0
        self._finished = False
        self._open: OpenStep | None = None
        try:
            for name, number in zip(KEY_COLUMNS, at, strict=True):
                self._row[name] = convert(column_named(name), number)
            self._open = writer.begin(at)
        except Exception as problem:  # noqa: BLE001 reported: raised, or logged in warn mode
            if not isinstance(problem, InsideError):  # which the writer has counted
                writer.count_refused()
            trace.report(problem)

    def wants(self, name: str) -> bool:
        """Return whether a column is kept at this recorder's level."""
        return self._trace.wants(name)

    def record(self, **columns: Any) -> None:
        """Take columns in, any time during the step; the last value of a column counts.

        Raises:
            UnknownColumnError: A column is not in the schema.
            ShapeMismatchError: A rank, dtype or length is wrong. Wrong *values* are recorded.
        """
        for name, value in columns.items():
            try:
                self._put(name, value)
            except Exception as problem:  # noqa: BLE001 reported: raised, or logged in warn mode
                if not (isinstance(problem, UnknownColumnError) and self._trace.raises):
                    self.mark_incomplete(f"{name}: {sentence_of(problem)}")
                self._trace.report(problem)

    def about_to_run(self, stage: str, columns: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        """Journal the inputs of a stage, and all recorded since, before its launch.

        Inputs are kept for the case that the launch never returns; they do not become columns of the row.

        Raises:
            UsageError: There is no such stage.
            TraceError: As `record`.
        """
        try:
            require_one_of("stage", stage, STAGES)
            given = {**columns, **named} if columns else named
            inputs = {name: convert(column_named(name), value) for name, value in given.items()}
            fresh, self._fresh = self._fresh, {}
            if self._open is not None:
                self._writer.stage(self._open, stage, fresh, inputs)
        except EnvironmentProblemError as problem:  # the row is whole all the same
            self._trace.report(problem)
        except Exception as problem:  # noqa: BLE001 reported: raised, or logged in warn mode
            self.mark_incomplete(f"inputs of {stage}: {sentence_of(problem)}")
            self._trace.report(problem)

    def mark_incomplete(self, reason: str) -> None:
        """Say in the row that something is missing, and why."""
        if reason not in self._reasons:
            self._reasons.append(reason)

    def __enter__(self) -> Step:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if problem is not None:
            self.mark_incomplete(f"{type(problem).__name__}: {sentence_of(problem)}")
        try:
            self._finish()
        except Exception as own:  # noqa: BLE001 reported: raised, or logged in warn mode
            if problem is None:
                self._trace.report(own)

    def _put(self, name: str, value: Any) -> None:
        column = COLUMN_BY_NAME.get(name) or column_named(name)
        if name in KEY_COLUMNS:
            raise UsageError(f"{name} is given to step(), not to record()")
        if self._finished:
            raise UsageError(f"the step has ended; record {name} before its context ends")
        if name not in self._kept:
            return
        cells = convert(column, value)
        if type(cells) is Cells:
            self._bytes += cells.values.nbytes
            if self._bytes > MAX_STEP_BYTES:
                raise ShapeMismatchError(f"one step may hold {MAX_STEP_BYTES} bytes, and {name} exceeds that")
            if self._late:
                self._late.pop(name, None)
            if not self._form.admit(column, cells.shape):
                self._late[name] = cells.shape
            if cells.overflow:
                self.mark_incomplete(cells.overflow)
        self._row[name] = self._fresh[name] = cells

    def _finish(self) -> None:
        """End the step: settle flat columns that came before N was known, then hand the row over."""
        late_problem: ShapeMismatchError | None = None
        for name, shape in self._late.items():
            try:
                self._form.admit(column_named(name), shape)
            except ShapeMismatchError as problem:
                self._row[name] = self._fresh[name] = None
                self.mark_incomplete(f"{name}: {problem}")
                late_problem = problem
        if self._reasons:
            recorded = self._row.get("incomplete")
            reasons = [recorded, *self._reasons] if isinstance(recorded, str) else self._reasons
            self._row["incomplete"] = self._fresh["incomplete"] = convert(
                column_named("incomplete"), "; ".join(reasons)
            )
        if self._open is not None:
            step, self._open = self._open, None
            self._finished = True
            self._writer.finish(step, self._fresh, self._row, self._bytes)
        if late_problem is not None:
            raise late_problem


class NullRecorder:
    """A recorder that keeps nothing and costs nothing; it is its own step."""

    name = ""
    num_steps = 0

    def wants(self, name: str) -> bool:  # noqa: ARG002 the protocol's argument
        """Nothing is wanted."""
        return False

    def step(self, **_: Any) -> NullRecorder:
        """Return itself."""
        return self

    def record(self, *_: Any, **__: Any) -> None:
        """Keep nothing."""

    about_to_run = mark_incomplete = seal = record

    def __enter__(self) -> NullRecorder:
        return self

    def __exit__(self, *_: object) -> None:
        return None
