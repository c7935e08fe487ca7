"""Writes one path of a run: the journal first, sealed batches of at most 64 steps after it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from tracing import journal_frames
from tracing.apart import Apart
from tracing.backlog import Backlog, Ended
from tracing.errors import EnvironmentProblemError, TraceError
from tracing.ipc_message import MAX_BATCH_STEPS
from tracing.journal import Journal
from tracing.open_step import OpenStep
from tracing.process import Alone, InsideError, Process, Result
from tracing.rows import batch_of_rows
from tracing.schema import arrow_schema
from tracing.stored import StoredBatch
from tracing.stream_file import StreamFile
from tracing.values import Value
from tracing.vocabulary import VocabularyWriter, tokens_record


class PathWriter:
    """Rows of one path, in the order in which they finish; safe to call from several threads.

    While the disk refuses rows, some hundred are kept and written as soon as there is room; those beyond are
    counted as lost, and the files say so. In a process forked from the one that opened it, nothing happens.

    Args:
        folder: The run folder.
        name: Path name; the files are `<name>.arrows` and `<name>.journal`.
        run_id: Identity of the run, so that files of two runs cannot be mixed.
        vocabulary: Collects token ids, or None.
        codec: Compression of sealed batches, `zstd` or `lz4`.
        flush: Wait for the disk at each record, not only at each batch.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        run_id: str,
        vocabulary: VocabularyWriter | None = None,
        codec: str = "lz4",
        *,
        flush: bool = False,
    ) -> None:
        self.name = name
        self._run_id = run_id
        self._vocabulary = vocabulary
        self._process = Process()
        self._alone = Alone()
        self._backlog = Backlog()
        self._sealing = Apart()
        self._stream = StreamFile(
            folder / f"{name}.arrows", arrow_schema(), {"run": run_id, "path": name}, codec, flush=flush
        )
        self._journal = Journal(folder / f"{name}.journal", self._head(), flush=flush)
        self._open: dict[int, OpenStep] = {}
        self._next_uid = 0
        self._num_incomplete = 0
        self._num_refused = 0
        self._closed = False

    @property
    def num_steps(self) -> int:
        """Finished steps so far, lost ones not included."""
        return self._backlog.num_rows(self._stream.sealed.rows)

    @property
    def num_lost(self) -> int:
        """Finished steps that the disk did not take."""
        return self._backlog.num_lost

    def begin(self, at: tuple[int, int, int]) -> OpenStep | None:
        """Begin a step; nothing is written yet. None in a forked process.

        Raises:
            TraceError: The path is closed.
        """
        if not self._process.is_this():
            return None
        return self._counted(partial(self._alone.run, partial(self._begin, at)))

    def _begin(self, at: tuple[int, int, int]) -> OpenStep:
        if self._closed:
            raise TraceError(f"path {self.name} is closed; open a new run to record more")
        step = self._open[self._next_uid] = OpenStep(self._next_uid, at)
        self._next_uid += 1
        return step

    def stage(
        self, step: OpenStep, stage: str, columns: Mapping[str, Value], inputs: Mapping[str, Value]
    ) -> None:
        """Journal what is new in the step and the inputs of the stage about to run, in one write.

        Raises:
            EnvironmentProblemError: The disk refused it.
        """
        if not self._process.is_this():
            return
        try:
            record = step.stage_record(stage, columns, inputs)
            self._alone.run(partial(self._stage, step, record))
        except BaseException:
            step.is_journaled = False
            raise

    def _stage(self, step: OpenStep, record: journal_frames.Record) -> None:
        step.records.append(record)
        is_journaled, step.is_journaled = step.is_journaled, False
        self._journal.append(record)
        step.is_journaled = is_journaled

    def finish(
        self, step: OpenStep, columns: Mapping[str, Value], row: Mapping[str, Value], num_bytes: int
    ) -> None:
        """Journal the end of a step, and let a thread seal a batch when one is full.

        Args:
            step: From `begin`.
            columns: What is new since its last journal record.
            row: The whole row.
            num_bytes: About what the row takes in memory.

        Raises:
            EnvironmentProblemError: The disk refused it, or a batch: written later or, with many kept, lost.
        """
        if self._process.is_this():
            alone = self._alone.run
            if self._backlog.is_full:
                alone = partial(self._sealing.between, self._alone)
            self._counted(partial(alone, partial(self._finish, step, columns, row, num_bytes)))
            self._sealing.raise_problem()

    def _counted(self, work: Callable[[], Result]) -> Result:
        try:
            return work()
        except InsideError:
            self.count_refused()
            raise

    def count_refused(self) -> None:
        """Count one step as lost that could not be begun or ended."""
        self._num_refused += 1

    def _finish(
        self, step: OpenStep, columns: Mapping[str, Value], row: Mapping[str, Value], num_bytes: int
    ) -> None:
        self._open.pop(step.uid, None)
        backlog = self._backlog
        refused, self._num_refused = self._num_refused, 0
        for _ in range(refused):
            backlog.lose(self.num_steps)
        if backlog.is_full and (refusal := self._relieve()):
            lost = backlog.lose(self.num_steps)
            raise EnvironmentProblemError(f"{lost} steps of path {self.name} are lost: {refusal}")
        self._num_incomplete += row.get("incomplete") is not None
        facts = step.end_facts(number := self.num_steps)
        try:
            end = journal_frames.encode(journal_frames.END, facts, columns if step.is_journaled else row)
        except TraceError:  # larger than a record can be
            backlog.lose(number)
            raise
        backlog.keep(Ended(number, row, num_bytes, facts, (*backlog.take_gap(), end)))
        self._write_kept()
        if backlog.is_due and not self._sealing.is_busy:
            self._seal_apart()

    def _relieve(self) -> str:
        """Make room for more rows; return why there is still none."""
        try:
            self._write_kept()
            if self._backlog.is_due and not self._sealing.is_busy:
                self._sealing.instead(self._seal)
        except EnvironmentProblemError as problem:
            return str(problem)
        return "no batch could be sealed" if self._backlog.is_full else ""

    def _write_kept(self) -> None:
        """Journal the rows that are kept in memory alone, the oldest first."""
        while (ended := self._backlog.next_unwritten()) is not None:
            tokens = self._vocabulary.take(ended.row) if self._vocabulary is not None else {}
            ended.tokens = (tokens_record(tokens),) if tokens else ()
            self._journal.append(*ended.tokens, *ended.records)
            if tokens and self._vocabulary is not None:
                self._vocabulary.written(tokens)
            self._backlog.written()

    def seal(self) -> None:
        """Write pending rows as batches, then let a fresh journal take the old one's place.

        Raises:
            EnvironmentProblemError: The disk refused it; nothing is lost, the journal still holds the rows.
        """
        if self._process.is_this():
            self._sealing.between(self._alone, partial(self._sealing.instead, self._seal))

    def _seal(self) -> None:
        self._write_kept()
        self._seal_rows(self._backlog.unsealed(self._stream.sealed.rows), self._begin_journal)

    def _seal_apart(self) -> None:
        """Let a thread seal full batches, if there are; the journal has them, and takes what comes."""
        ended = self._backlog.unsealed(self._stream.sealed.rows)
        ended = ended[: len(ended) // MAX_BATCH_STEPS * MAX_BATCH_STEPS or None]
        begin_journal = partial(self._alone.run, self._begin_journal)
        if not self._sealing.begin(partial(self._seal_rows, ended, begin_journal)):
            self._sealing.instead(self._seal)

    def _seal_rows(self, ended: Sequence[Ended], begin_journal: Callable[[], None]) -> None:
        try:
            self._seal_batches(ended)
            begin_journal()
        except EnvironmentProblemError:
            self._backlog.postpone()
            raise

    def _seal_batches(self, ended: Sequence[Ended]) -> None:
        if self._vocabulary is not None:
            self._vocabulary.seal()
        for start in range(0, len(ended), MAX_BATCH_STEPS):
            rows = ended[start : start + MAX_BATCH_STEPS]
            more = {} if all(each.is_written for each in rows) else {"unjournaled": True}
            self._stream.append(batch_of_rows([each.row for each in rows]), **more)

    def _begin_journal(self) -> None:
        """Forget what is sealed; a fresh journal has the rest."""
        sealed = self._stream.sealed.rows
        self._backlog.forget(sealed)
        carried = [each for ended in self._backlog.unsealed(sealed) for each in ended.for_fresh_journal()]
        carried += [record for step in self._open.values() for record in step.records]
        self._journal.restart(self._head(), carried)
        for step in self._open.values():
            step.is_journaled = True

    def append_batch(self, batch: pa.RecordBatch) -> None:
        """Seal rows that are Arrow already (merge, slice, repair); they must be in this format's schema.

        Their original lies on a disk, so only `close` waits for this one.

        Raises:
            TraceError: There are pending rows, or too many in the batch.
        """
        self._require_sealed(batch.num_rows)
        self._num_incomplete += batch.num_rows - batch.column("incomplete").null_count
        self._stream.append(batch, wait=False, unjournaled=True)

    def append_stored(self, batch: StoredBatch) -> None:
        """Seal a proven batch of another run of this format as it is stored; else as `append_batch`.

        Raises:
            TraceError: As `append_batch`.
        """
        self._require_sealed(batch.num_rows)
        self._num_incomplete += batch.num_incomplete
        self._stream.append_stored(batch.frame, batch.facts, unjournaled=True)

    def _require_sealed(self, num_rows: int) -> None:
        self._sealing.wait()
        if self._backlog.unsealed(self._stream.sealed.rows) or num_rows > MAX_BATCH_STEPS:
            raise TraceError(f"a batch of at most {MAX_BATCH_STEPS} rows should follow sealed rows")

    def close(self) -> dict[str, Any]:
        """Seal the rest, write the end record and return counts and checksum for the manifest.

        Raises:
            EnvironmentProblemError: The disk refused it; the trace so far stays readable.
        """
        return self._sealing.between(self._alone, self._close)

    def _close(self) -> dict[str, Any]:
        self._closed = True
        for _ in range(self._num_refused):
            self._backlog.lose(self.num_steps)
        try:
            with contextlib.suppress(EnvironmentProblemError):  # sealed batches are smaller: they may fit
                self._write_kept()
            if self._vocabulary is not None:
                for ended in self._backlog.unsealed(self._stream.sealed.rows):
                    self._vocabulary.take(ended.row)
            self._seal_batches(self._backlog.unsealed(self._stream.sealed.rows))
            self._backlog.forget(self._stream.sealed.rows)
            lost = {"lost": self._backlog.gaps} if self._backlog.num_lost else {}
            return self._stream.close(num_incomplete=self._num_incomplete, **lost)
        except BaseException:
            self._stream.abandon()
            raise
        finally:
            self._journal.close(remove=False)

    def _head(self) -> dict[str, Any]:
        lost = {"lost": self._backlog.gaps} if self._backlog.num_lost else {}
        return {"run": self._run_id, "path": self.name, **self._stream.sealed.facts(), **lost}
