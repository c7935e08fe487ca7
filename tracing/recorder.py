"""What an engine author imports: `open_trace`, `RunWriter`, `NullRecorder`.

with open_trace("run", engine="my-engine", on_error="warn") as trace:
    with trace.step(prompt_id=0, turn=0, step=k) as step:
        step.record(parents=parents, token_ids=token_ids)
        step.about_to_run("verify", position_ids=position_ids)
        step.record(target_token_ids=choices)
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tracing.errors import sentence_of
from tracing.recording_plan import RecordingPlan
from tracing.run_writer import Durability, RunWriter, checked_path
from tracing.step_recorder import NullRecorder, OnError, Step, Trace
from tracing.vocabulary import TokenBytes

__all__: Final = [
    "NullRecorder",
    "OnError",
    "Recorder",
    "RecordingPlan",
    "RunWriter",
    "Step",
    "Trace",
    "open_trace",
]

Recorder = Trace | NullRecorder
"""What records a path: the real one, or the one that costs nothing."""

_log = logging.getLogger("specwb.trace")


@contextmanager
def open_trace(
    folder: str | Path,
    *,
    path: str = "fused",
    engine: str = "",
    on_error: OnError = "raise",
    level: str = "basic",
    manifest: Mapping[str, Any] | None = None,
    lacks: Iterable[str] = (),
    token_bytes: TokenBytes | None = None,
    durability: Durability = "process",
    plan: RecordingPlan | None = None,
) -> Iterator[Recorder]:
    """Record one path into a fresh run folder.

    Args:
        folder: A folder that holds no run; it is created.
        path: Name of the path.
        engine: Name and version of the engine, for the manifest.
        on_error: `raise`, or `warn`: nothing is ever raised into the host; a folder that cannot be taken
            gives a recorder that keeps nothing, and logs it.
        level: `basic`, `digest` or `full`; columns above it are left out.
        manifest: More plain data for the manifest.
        lacks: Columns that this engine can never have.
        token_bytes: Gives the raw bytes of a token id; fills the vocabulary.
        durability: What a step that has ended survives: `process` or `power`, as `RunWriter` says.
        plan: What will be recorded of what the engine does; every step where not given.

    Raises:
        TraceError: The folder holds a run or has another writer (`raise` mode).
        EnvironmentProblemError: The folder cannot be written (`raise` mode).
    """
    try:
        lacks = checked_path(path, level, lacks, on_error)
        facts = {"engine": engine, **({} if plan is None else plan.as_manifest()), **(manifest or {})}
        run = RunWriter(folder, facts, token_bytes=token_bytes, durability=durability)
        try:
            recorder = run.path(path, level=level, lacks=lacks, on_error=on_error)
        except BaseException:
            run.close("failed")
            raise
    except Exception as problem:
        if on_error != "warn":
            raise
        _log.warning("nothing is recorded: %s", sentence_of(problem))
        yield NullRecorder()
        return
    yield from _closing(run, recorder, on_error)


def _closing(run: RunWriter, recorder: Trace, on_error: OnError) -> Iterator[Recorder]:
    """Yield the recorder and close its run with the status that fits how the block ended."""
    try:
        yield recorder
    except BaseException as problem:
        run.__exit__(type(problem), problem, None)
        raise
    try:
        run.close()
        if recorder.num_lost:
            _log.warning(
                "%d steps are not recorded, as the disk was full; the run says so", recorder.num_lost
            )
    except Exception as problem:
        if on_error != "warn":
            raise
        _log.warning("the trace could not be closed: %s", sentence_of(problem))
