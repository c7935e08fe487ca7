"""Reads one path of a run: sealed batches, then the rows of the journal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tracing.columns import COLUMN_BY_NAME, KEY_COLUMNS
from tracing.errors import TraceError
from tracing.files import is_being_written, read_regular
from tracing.identity import Identity
from tracing.ipc_message import MAX_FRAME_BYTES, CorruptFrameError
from tracing.journal import InProgressStep, JournalContent, read_journal
from tracing.journal_fit import misfit, missing_rows
from tracing.moment import Moment
from tracing.rows import batch_of_rows, row_of_batch, row_of_values, with_columns
from tracing.schema import arrow_schema, column_named
from tracing.sealed import SealedBatch
from tracing.stream_reader import DisprovedError, StreamReader

__all__ = ["InProgressStep", "PathReader"]

_TRIES: Final = 8
"""Readings of a journal and its stream that are still being written, until one pair fits."""


class PathReader:
    """Rows of one path, in the order in which they finished.

    Args:
        folder: The run folder.
        name: Path name.
        entry: The path's entry in the manifest.
        own: Whose files they should be.
        lazily: Prove each batch when it is read, as `StreamReader` says.
        every_row: Read rows that are no steps too.

    Attributes:
        name: Path name.
        entry: The path's entry in the manifest: `level`, `lacks`, `info`, counts.
        stream: The sealed file.
        journal: What the journal holds; empty for a closed run.
        unsealed: Row numbers of the steps that no batch holds.
        damage: Sentences about what is not as it was written, by file name; a file that only ends early, as
            after `kill -9`, has none.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        entry: Mapping[str, Any],
        own: Identity,
        *,
        lazily: bool = False,
        every_row: bool = False,
    ) -> None:
        self.name = name
        self.entry = dict(entry)
        self.journal = JournalContent()
        self.damage: dict[str, list[str]] = {}
        self._own = own.of_path(name)
        self._every_row = every_row
        self._tail = batch_of_rows([])
        self._cached: tuple[tuple[str, ...], pa.RecordBatch, int] | None = None
        self._rows_by_key: dict[tuple[int, ...], int] | None = None
        self._journal_path = folder / f"{name}.journal"
        # The journal is read before the stream: rows leave it only once they are in the stream.
        self.journal = self._read_journal()
        self.stream = StreamReader(
            folder / f"{name}.arrows", arrow_schema(), self._own, lazily=lazily, every_row=every_row
        )
        self._settle()

    def refresh(self, entry: Mapping[str, Any] | None = None) -> int:
        """Read what the writer has added since; return the number of steps now."""
        self.entry = dict(entry) if entry is not None else self.entry
        self.journal = self._read_journal()
        self.stream.refresh()
        self._settle()
        return self.num_steps

    @property
    def num_steps(self) -> int:
        """Readable finished steps."""
        return self.stream.num_rows + int(self._tail.num_rows)

    @property
    def num_unproven(self) -> int:
        """Batches of which only the head has been read; 0 unless the run was opened lazily."""
        return len(self.stream.unproven)

    def prove_some(self, count: int) -> int:
        """Prove some more batches; return how many are left.

        Raises:
            DisprovedError: One is not what was written; it has no rows any more.
        """
        try:
            return self.stream.prove_some(count)
        except DisprovedError:
            self._settle()
            raise

    @property
    def in_progress(self) -> list[InProgressStep]:
        """Steps that had begun and not finished, oldest first."""
        return [
            InProgressStep(step.moment, row_of_values(step.columns), row_of_values(step.inputs))
            for step in self.journal.open_steps.values()
        ]

    def batches(
        self,
        names: Sequence[str] | None = None,
        start: int = 0,
        stop: int | None = None,
        *,
        filled: bool = False,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows `start:stop` batch by batch, at most 64 at a time; memory stays flat.

        With `filled`, columns of sealed batches that are null throughout are left out, all but one.

        Raises:
            UnknownColumnError: A name is not in the schema.
            CorruptFrameError: A batch cannot be unpacked.
            DisprovedError: A batch is not what was written; the rows have been numbered anew.
        """
        wanted = list(COLUMN_BY_NAME) if names is None else [column_named(name).name for name in names]
        stop = self.num_steps if stop is None else stop
        start, generation = max(start, 0), self.stream.generation
        while True:
            if self.stream.generation != generation:
                raise DisprovedError(f"rows of {self.stream.path.name} were numbered anew meanwhile")
            if start >= min(stop, self.num_steps):
                return
            batch, first = self._batch_with(start, wanted, filled=filled)
            end = min(stop, first + batch.num_rows)
            yield batch if end - start == batch.num_rows else batch.slice(start - first, end - start)
            start = end

    def sealed_batches(self, names: Sequence[str]) -> Iterator[SealedBatch | pa.RecordBatch]:
        """Yield all rows with the named columns, unpacked only when asked for; unsealed ones as they are.

        Raises:
            UnknownColumnError: A name is not in the schema.
        """
        wanted = [column_named(name).name for name in names]
        shares = self.stream.shares if self.stream.batches else {}
        for number in range(len(self.stream.batches)):
            if self.stream.left_out(number):
                yield self._unpacked(number, wanted)
            else:
                yield SealedBatch(self.stream, number, wanted, shares)
        if self._tail.num_rows:
            yield self._tail.select(wanted)

    def columns(
        self, names: Sequence[str] | None = None, start: int = 0, stop: int | None = None
    ) -> pa.Table:
        """Return rows `start:stop` of the named columns (default: all) as one table, without copying."""
        wanted = list(COLUMN_BY_NAME) if names is None else list(names)
        return pa.Table.from_batches(list(self.batches(wanted, start, stop)), arrow_schema(wanted))

    def step(self, number: int) -> dict[str, Any]:
        """Return one row: numpy arrays in natural shape, Python scalars, None where nothing is recorded.

        Raises:
            TraceError: There is no such row.
        """
        if not 0 <= number < self.num_steps:
            raise TraceError(f"path {self.name} has steps 0 to {self.num_steps - 1}, got {number}")
        batch, first = self._batch_with(number, list(COLUMN_BY_NAME))
        return row_of_batch(batch, number - first)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield all rows as `step` gives them."""
        for batch in self.batches():
            for row in range(batch.num_rows):
                yield row_of_batch(batch, row)

    def keys(self) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
        """Return prompt, turn and step of every row, int32 `[num_steps, 3]`."""
        table = self.columns(KEY_COLUMNS)
        return np.stack([table.column(name).to_numpy() for name in KEY_COLUMNS], axis=1)

    def moment(self, number: int) -> Moment:
        """Return where row `number` is."""
        table = self.columns(KEY_COLUMNS, number, number + 1)
        return Moment(*(table.column(name)[0].as_py() for name in KEY_COLUMNS))

    def find(self, moment: Moment) -> int:
        """Return the row of a moment; stage and node are ignored.

        Raises:
            TraceError: There is no such step.
        """
        if self._rows_by_key is None:
            keys = self.keys().tolist()
            self._rows_by_key = {tuple(key): row for row, key in reversed(list(enumerate(keys)))}
        row = self._rows_by_key.get((moment.prompt_id, moment.turn, moment.step))
        if row is None:
            raise TraceError(
                f"path {self.name} has no step {moment.prompt_id}:{moment.turn}:{moment.step}; "
                f"it has {self.num_steps} steps"
            )
        return row

    def _batch_with(self, row: int, names: list[str], *, filled: bool = False) -> tuple[pa.RecordBatch, int]:
        """Return a batch with the named columns that holds a row, and the number of its first row."""
        if row >= self.stream.num_rows:
            return self._tail.select(names), self.stream.num_rows
        if self._cached is not None and self._cached[0] == tuple(names):
            _, batch, first = self._cached
            if first <= row < first + batch.num_rows:
                return batch, first
        number, within = self.stream.locate(row)
        if filled:
            return self._unpacked(number, names, filled=True), row - within
        self._cached = (tuple(names), self._unpacked(number, names), row - within)
        return self._cached[1], row - within

    def _unpacked(self, number: int, names: list[str], *, filled: bool = False) -> pa.RecordBatch:
        """Return the named columns of a sealed batch, null where the file does not have them."""
        try:
            batch = self.stream.read(number, names, filled=True)
        except DisprovedError:
            self._settle()
            raise
        if filled or batch.schema.names == names:
            return batch.replace_schema_metadata(None)
        return with_columns(batch, names)

    def _read_journal(self) -> JournalContent:
        try:
            if self._journal_path.stat().st_size > 2 * MAX_FRAME_BYTES:
                return JournalContent(problem=CorruptFrameError("is larger than a journal can be"))
            content = read_journal(read_regular(self._journal_path))
            foreign = content.head is not None and self._own.foreign(content.head)
            return JournalContent(problem=CorruptFrameError(foreign)) if foreign else content
        except FileNotFoundError:
            return JournalContent()
        except OSError as problem:
            return JournalContent(problem=CorruptFrameError(f"cannot be read: {problem.strerror or problem}"))

    def _settle(self) -> None:
        """Line the journal's rows up after the sealed ones and note what does not fit."""
        self._cached, self._rows_by_key = None, None
        unfit = misfit(self.journal, self.stream)
        tries = _TRIES if unfit and is_being_written(self._journal_path.parent) else 0
        while unfit and tries:  # a living writer may have sealed twice between the two readings
            self.journal, tries = self._read_journal(), tries - 1
            self.stream.refresh()
            unfit = misfit(self.journal, self.stream)
        if unfit:
            self.journal = JournalContent(problem=CorruptFrameError(unfit))
        first = self._num_sealed()
        unsealed = [(number, row) for number, row in sorted(self.journal.rows.items()) if number >= first]
        steps = [each for each in unsealed if self._every_row or each[1].get("row_kind") is None]
        self.unsealed = [number for number, _ in steps]
        self._tail = batch_of_rows([row for _, row in steps])
        self.damage = {self.stream.path.name: self._stream_damage()}
        sealed, refused = missing_rows(self.journal, first)
        if sealed:
            self.damage[self.stream.path.name].append(f"{sealed} sealed steps are missing")
        of_journal = [f"{refused} finished steps are missing: the disk refused them"] if refused else []
        if isinstance(self.journal.problem, CorruptFrameError):
            of_journal.append(str(self.journal.problem))
        if of_journal:
            self.damage[self._journal_path.name] = of_journal

    @property
    def problems(self) -> list[str]:
        """All sentences of `damage`; empty for a whole path, running, closed or killed."""
        return [f"{name}: {sentence}" for name, sentences in self.damage.items() for sentence in sentences]

    def _stream_damage(self) -> list[str]:
        stream = self.stream
        found = list(stream.bad)
        is_closed = "bytes" in self.entry
        if stream.problem is not None and (is_closed or isinstance(stream.problem, CorruptFrameError)):
            found.append(str(stream.problem))
        listed = (self.entry.get("bytes"), self.entry.get("crc32"))
        if is_closed and stream.end is None and not found:
            found.append("has no end record")
        if is_closed and not found and listed != (stream.num_bytes, stream.last_crc):
            found.append("is not the file that the manifest lists")
        return found

    def _num_sealed(self) -> int:
        """Return the number of the first row that no batch holds, counting those of damaged batches."""
        if not self.stream.batches:
            return 0
        facts = self.stream.batches[-1].facts
        return int(facts["first_row"]) + int(facts["num_rows"])
