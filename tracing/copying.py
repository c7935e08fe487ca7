"""A run made from a run: repaired, cut out, or brought to the current format. The original stays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tracing.errors import SpecwbError, TraceError, UsageError
from tracing.integrity import RunHealth, verify_run
from tracing.ipc_message import MAX_BATCH_STEPS
from tracing.manifest import OWNED_BY_WRITER
from tracing.moment import Moment
from tracing.origins import ORIGINS, origin_of, with_origin
from tracing.path_reader import InProgressStep, PathReader
from tracing.reader import Run, open_run
from tracing.run_writer import RunWriter
from tracing.schema import FORMAT_VERSION
from tracing.stored import StoredBatch, pieces

Key = tuple[int, int, int]
Piece: TypeAlias = "StoredBatch | pa.RecordBatch"
Order = NDArray[np.int64]
"""Rows of several paths, `[S, 2]`: number of the path, row."""


@dataclass(frozen=True, slots=True)
class KeyRange:
    """A part of a run: keys from `low` to `high`, both included."""

    low: Key
    high: Key

    def holds(self, moment: Moment) -> bool:
        """Return whether a moment lies in this part."""
        return self.low <= moment.place <= self.high


def repair_run(folder: str | Path, out: str | Path) -> RunHealth:
    """Write everything that is still readable as a closed run and return the health of the original.

    The manifest says what it was repaired from and what was lost (`tracing.origins`), and holds the steps in
    progress with the inputs of the stage that never returned.

    Raises:
        TraceError: Nothing can be read, or `out` holds a run.
    """
    health = verify_run(folder)
    run = open_run(folder, every_row=True)
    facts = {
        ORIGINS: with_origin(run, origin_of(run, health, "repair")),
        "in_progress": {
            name: [_step_json(step) for step in steps] for name, steps in health.in_progress.items()
        },
    }
    _copy(run, Path(out), facts, closed_status(run))
    return health


def slice_run(folder: str | Path, out: str | Path, first: Moment, last: Moment) -> int:
    """Write the steps from `first` to `last`, both included, as a run of their own; return their number.

    Steps are compared by prompt, turn and step; findings and bulk tensors of those steps come along.

    Raises:
        UsageError: No step lies there.
        TraceError: The run is damaged, or `out` holds a run.
    """
    run, health = whole_run(folder)
    part = KeyRange(first.place, last.place)
    kept = {name: len(_rows_in(run.path(name), part)) for name in run.path_names}
    if not any(kept.values()):
        raise UsageError(f"{folder} has no step from {first} to {last}")
    origin = origin_of(run, health, "slice", kept=kept, first=str(first), last=str(last))
    _copy(run, Path(out), {ORIGINS: with_origin(run, origin)}, closed_status(run), part)
    return sum(kept.values())


def migrate_run(folder: str | Path, out: str | Path) -> bool:
    """Write a run of an older format in the current one; False, and nothing written, where it is current.

    Raises:
        TraceError: The run is damaged or of a newer major version, or `out` holds a run.
    """
    run, health = whole_run(folder)
    if run.manifest["format"] == FORMAT_VERSION:
        return False
    facts = {ORIGINS: with_origin(run, origin_of(run, health, "migrate"))}
    _copy(run, Path(out), facts, closed_status(run))
    return True


def whole_run(folder: str | Path) -> tuple[Run, RunHealth]:
    """Open a run from which others are made, with its health; a damaged one must be repaired first.

    Raises:
        TraceError: It is damaged, or no run. Its batches are proven once more when they are read.
    """
    health = verify_run(folder)
    for file in health.files:
        if file.state in {"torn", "corrupt"}:
            raise TraceError(f"{folder} is damaged ({file.name}: {file.message}); repair it first")
    return open_run(folder, lazily=True, every_row=True), health


def rebatched(batches: Iterable[Piece]) -> Iterator[Piece]:
    """Yield the same rows in batches of at most 64: full ones as they are, pieces joined; memory is flat."""
    waiting: list[pa.RecordBatch] = []
    num_rows = 0
    for batch in batches:
        if isinstance(batch, StoredBatch) or batch.num_rows == MAX_BATCH_STEPS:
            yield from _joined(waiting)
            waiting, num_rows = [], 0
            yield batch
            continue
        waiting.append(batch)
        num_rows += batch.num_rows
        if num_rows >= MAX_BATCH_STEPS:
            *full, rest = _joined(waiting)
            yield from full
            waiting, num_rows = [rest], rest.num_rows
    yield from _joined(waiting)


def _joined(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    if not batches:
        return []
    table = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()
    pieces: list[pa.RecordBatch] = table.to_batches(max_chunksize=MAX_BATCH_STEPS)
    return pieces


def _copy(
    run: Run,
    out: Path,
    facts: dict[str, Any],
    status: str,
    part: KeyRange | None = None,
) -> None:
    manifest = {key: value for key, value in run.manifest.items() if key not in OWNED_BY_WRITER}
    vocabulary = run.vocabulary
    with RunWriter(
        out, {**manifest, **facts}, token_bytes=vocabulary.__getitem__ if vocabulary else None
    ) as copy:
        for name in run.path_names:
            path = run.path(name)
            rows = path.batches() if part is None else in_order([path], _rows_in(path, part))
            write_path(copy, [path], rows)
        if vocabulary:
            copy.add_tokens(vocabulary)
        for finding in run.findings:
            if part is None or part.holds(finding.moment):
                copy.add_finding(finding)
        _copy_bulk(run, copy, part)
        copy.close(status)


def _copy_bulk(run: Run, copy: RunWriter, part: KeyRange | None) -> None:
    """Copy bulk tensors; one that is damaged is left behind, `origins` in the manifest names it."""
    for entry in run.manifest.get("bulk", []):
        try:
            if part is None or part.holds(Moment.parse(str(entry.get("moment")))):
                copy.adopt_bulk(run.folder, entry)
        except SpecwbError:
            continue


def write_path(copy: RunWriter, paths: Sequence[PathReader], batches: Iterable[Piece]) -> None:
    """Write rows as the path that these paths, one of each run, have in common."""
    entry = paths[0].entry
    lacks = set(entry.get("lacks", ())).intersection(*(path.entry.get("lacks", ()) for path in paths))
    level, info = entry.get("level", "full"), entry.get("info")
    writer = copy.path_writer(paths[0].name, level=level, lacks=lacks, info=info)
    for batch in rebatched(batches):
        if isinstance(batch, StoredBatch):
            writer.append_stored(batch)
        else:
            writer.append_batch(batch)


def _rows_in(path: PathReader, part: KeyRange) -> Order:
    keys = path.keys()
    rows = np.flatnonzero(
        ~_before(keys, part.low) & ~_before(np.negative(keys), tuple(-each for each in part.high))
    )
    return np.stack([np.zeros_like(rows), rows], axis=1)


def _before(keys: NDArray[Any], key: Sequence[int]) -> NDArray[np.bool_]:
    """Return which keys `[S, 3]` come before one, in the order of tuples, `[S]`."""
    found, equal = np.zeros(len(keys), np.bool_), np.ones(len(keys), np.bool_)
    for place, value in enumerate(key):
        found |= equal & (keys[:, place] < value)
        equal &= keys[:, place] == value
    return found


def in_order(paths: Sequence[PathReader], order: Order) -> Iterator[Piece]:
    """Yield rows of whole runs in the given order of (path, row), neighbours in one piece."""
    goes_on = (np.diff(order, axis=0) == (0, 1)).all(axis=1)
    for piece in np.split(order, np.flatnonzero(~goes_on) + 1):
        if len(piece):
            yield from pieces(paths[piece[0, 0]], int(piece[0, 1]), int(piece[-1, 1]) + 1)


def closed_status(run: Run) -> str:
    """Return the status of a copy, which is closed; that its original was not is said by its origin."""
    return "interrupted" if run.status in {"running", ""} else run.status


def _step_json(step: InProgressStep) -> dict[str, Any]:
    return {
        "moment": str(step.moment),
        "columns": {name: _plain(value) for name, value in step.columns.items()},
        "inputs": {name: _plain(value) for name, value in step.inputs.items()},
    }


def _plain(value: Any) -> Any:
    """Return JSON data; NaN and Inf become text, as in findings."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value
