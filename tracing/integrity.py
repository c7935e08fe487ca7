"""`verify_run`: the state of a run folder, file by file, and what of it can still be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tracing.arrow_values import values_of
from tracing.bulk import BULK_FOLDER, check_bulk, checked_bulk_path
from tracing.errors import TraceError
from tracing.files import LOCK_NAME
from tracing.findings_log import FINDINGS_NAME, check_findings
from tracing.identity import named_runs
from tracing.ipc_message import CorruptFrameError, TornFrameError
from tracing.manifest import MANIFEST_NAME
from tracing.path_reader import InProgressStep, PathReader
from tracing.reader import Run, open_run
from tracing.stream_reader import StreamReader
from tracing.vocabulary import TOKEN_COLUMNS, VOCABULARY_NAME, VOCABULARY_SCHEMA

STATES: Final = ("complete", "truncated", "torn", "corrupt")
"""From best to worst. `truncated`: cut at a clean boundary, or never closed; `torn`: cut inside a record;
`corrupt`: the bytes are there (or a listed file is gone) and are not what was written."""


@dataclass(frozen=True, slots=True)
class FileHealth:
    """State of one file.

    Attributes:
        name: Path inside the run folder.
        state: One of `STATES`.
        message: What is wrong, empty for a complete file.
        readable: What can still be read, e.g. `128 steps`; empty where there is nothing to count.
    """

    name: str
    state: str
    message: str = ""
    readable: str = ""


@dataclass(frozen=True, slots=True)
class RunHealth:
    """State of a run.

    Attributes:
        folder: The run folder.
        state: The worst state of its files; a run that was never closed is at least `truncated`.
        status: As in the manifest: `running`, `complete`, `interrupted` or `failed`; empty where
            unreadable.
        being_written: Whether a living writer holds the folder; None where the system cannot tell.
        files: Each file.
        num_steps: Readable finished steps per path.
        in_progress: Steps that had begun and not finished, per path, with stage and inputs.
    """

    folder: Path
    state: str
    status: str
    being_written: bool | None
    files: tuple[FileHealth, ...]
    num_steps: Mapping[str, int] = field(default_factory=dict)
    in_progress: Mapping[str, tuple[InProgressStep, ...]] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """True when nothing is missing or changed."""
        return self.state == "complete"


def verify_run(folder: str | Path) -> RunHealth:
    """Prove every byte of a run.

    Raises:
        TraceError: The folder is no run, or of a newer major version.
    """
    folder = Path(folder)
    has_nothing = not (folder / MANIFEST_NAME).exists() and not named_runs(folder)
    if has_nothing and (folder / LOCK_NAME).exists():
        nothing = FileHealth(MANIFEST_NAME, "truncated", "the writer ended before it recorded anything")
        return RunHealth(folder, "truncated", "", None, (nothing,))
    run = open_run(folder)
    files = tuple(_files(run))
    paths = {name: run.path(name) for name in run.path_names}
    states = [file.state for file in files] + ["truncated" if run.status == "running" else "complete"]
    return RunHealth(
        folder,
        max(states, key=STATES.index),
        run.status,
        run.being_written,
        files,
        {name: path.num_steps for name, path in paths.items()},
        {name: tuple(path.in_progress) for name, path in paths.items() if path.in_progress},
    )


def _files(run: Run) -> Iterator[FileHealth]:
    yield _manifest_health(run)
    for name in run.path_names:
        yield from _path_health(run.path(name))
    yield _findings_health(run)
    yield from _vocabulary_health(run)
    for entry in run.manifest.get("bulk", []):
        yield _bulk_health(run, entry)
    yield from (FileHealth(name, "corrupt", sentence) for name, sentence in run.strangers.items())
    yield from _unlisted_bulk(run)


def _manifest_health(run: Run) -> FileHealth:
    if run.manifest:
        return FileHealth(MANIFEST_NAME, "complete")
    problem = next((problem for problem in run.problems if MANIFEST_NAME in problem), "is unreadable")
    return FileHealth(MANIFEST_NAME, "corrupt", problem, "paths are read without it")


def _path_health(path: PathReader) -> Iterator[FileHealth]:
    closed = path.entry if "bytes" in path.entry else None
    name = path.stream.path.name
    state, message = _stream_state(path.stream, closed, path.journal.head)
    if state == "complete" and path.damage[name]:
        state, message = "corrupt", "; ".join(path.damage[name])
    yield FileHealth(name, state, message, f"{path.stream.num_rows} steps")
    yield from _journal_health(path, is_closed=closed is not None or path.stream.end is not None)


def _journal_health(path: PathReader, *, is_closed: bool) -> Iterator[FileHealth]:
    name = f"{path.name}.journal"
    journal = path.journal
    readable = f"{path.num_steps - path.stream.num_rows} more steps"
    if path.damage.get(name):
        yield FileHealth(name, "corrupt", "; ".join(path.damage[name]), readable)
    elif journal.problem is not None:
        yield FileHealth(name, _state_of(journal.problem), str(journal.problem), readable)
    elif journal.head is not None:
        yield FileHealth(name, "complete", "", readable)
    elif not is_closed:
        yield FileHealth(name, "corrupt", "is missing: steps after the last seal are lost")


def _state_of(problem: TraceError | None) -> str:
    return "torn" if isinstance(problem, TornFrameError) else "corrupt"


def _stream_state(
    stream: StreamReader, closed: Mapping[str, Any] | None, head: Mapping[str, Any] | None
) -> tuple[str, str]:
    """Judge a stream file.

    Args:
        stream: As read.
        closed: What the manifest lists for a closed file, or None.
        head: Head of the journal, with what was sealed when it began, or None.
    """
    if stream.bad or isinstance(stream.problem, CorruptFrameError):
        return "corrupt", "; ".join([*stream.bad, *([str(stream.problem)] if stream.problem else [])])
    undecodable = _undecodable(stream)
    if undecodable:
        return "corrupt", undecodable
    promised = (closed or head or {}).get("bytes", 0)
    if stream.problem is not None:
        changed = isinstance(promised, int) and stream.num_bytes < promised <= stream.size
        return ("corrupt" if changed else "torn"), str(stream.problem)
    if stream.end is None:
        return "truncated", _end_is_missing(stream, head)
    if closed is not None and (closed.get("crc32"), promised) != (stream.last_crc, stream.num_bytes):
        return "corrupt", "is not the file that the manifest lists"
    return "complete", ""


def _end_is_missing(stream: StreamReader, head: Mapping[str, Any] | None) -> str:
    sealed = (head or {}).get("rows", 0)
    if isinstance(sealed, int) and sealed > stream.num_stored:
        return f"{sealed - stream.num_stored} sealed steps are missing"
    return "has no end record"


def _undecodable(stream: StreamReader) -> str:
    """Unpack every batch once, a batch at a time; return the first sentence about one that cannot be."""
    for number in range(len(stream.batches)):
        try:
            stream.read(number)
        except TraceError as problem:
            return f"batch {number}: {problem}"
    return ""


def _findings_health(run: Run) -> FileHealth:
    closed = run.manifest.get("findings")
    problem = check_findings(run.folder, closed if isinstance(closed, dict) else None, run.own)
    if problem is None and run.path_names and not (run.folder / FINDINGS_NAME).exists():
        problem = CorruptFrameError("is missing")
    readable = f"{len(run.findings)} findings"
    if problem is None:
        return FileHealth(FINDINGS_NAME, "complete", "", readable)
    if not isinstance(problem, (TornFrameError, CorruptFrameError)):
        return FileHealth(FINDINGS_NAME, "truncated", str(problem), readable)
    return FileHealth(FINDINGS_NAME, _state_of(problem), str(problem), readable)


def _vocabulary_health(run: Run) -> Iterator[FileHealth]:
    closed = run.manifest.get("vocabulary")
    is_closed = isinstance(closed, dict) and "bytes" in closed
    path = run.folder / VOCABULARY_NAME
    if not path.exists() and not (is_closed or (isinstance(closed, dict) and run.path_names)):
        return
    stream = StreamReader(path, VOCABULARY_SCHEMA, run.own)
    state, message = _stream_state(stream, closed if is_closed else None, None)
    if state == "truncated" and (missing := _unknown_tokens(run)):
        message = f"{missing} token ids that occur are missing"
    yield FileHealth(VOCABULARY_NAME, state, message, f"{stream.num_rows} tokens")


def _unknown_tokens(run: Run) -> int:
    """Return how many token ids of a run that was not closed are in neither vocabulary nor journal."""
    known, missing = run.vocabulary.keys(), set[int]()
    for name in run.path_names:
        for batch in run.path(name).batches(TOKEN_COLUMNS):
            for column in batch.columns:
                ids = values_of(column.flatten() if pa.types.is_list(column.type) else column.drop_null())
                missing.update(set(np.unique(ids).tolist()) - known)
    return len(missing)


def _bulk_health(run: Run, entry: Mapping[str, Any]) -> FileHealth:
    name = str(entry.get("file"))
    try:
        check_bulk(checked_bulk_path(run.folder, dict(entry)), dict(entry))
    except TraceError as problem:
        return FileHealth(name, "corrupt", str(problem))
    return FileHealth(name, "complete")


def _unlisted_bulk(run: Run) -> Iterator[FileHealth]:
    """Yield tensors that the manifest of a closed run does not list; a killed one may not have come to it."""
    if run.status in {"", "running"}:
        return
    listed = {str(entry.get("file")) for entry in run.manifest["bulk"]}
    for path in sorted((run.folder / BULK_FOLDER).glob("*.npy")):
        name = f"{BULK_FOLDER}/{path.name}"
        if name not in listed:
            yield FileHealth(name, "corrupt", "is not listed in the manifest")
