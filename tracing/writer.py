"""Writes one path of a run: the journal first, sealed batches of at most 64 steps after it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from tracing import journal_frames
from tracing.errors import TraceError
from tracing.ipc_message import MAX_BATCH_STEPS
from tracing.journal import Journal
from tracing.rows import batch_of_rows
from tracing.schema import arrow_schema
from tracing.stream_file import StreamFile
from tracing.values import Value
from tracing.vocabulary import VocabularyWriter

MAX_PENDING_BYTES: Final = 32 << 20


@dataclass(slots=True)
class OpenStep:
    """What the writer keeps of a step that has begun: its number and its journal records so far."""

    uid: int
    at: tuple[int, int, int]
    records: list[journal_frames.Record] = field(default_factory=list)


class PathWriter:
    """Rows of one path, in the order in which they finish; safe to call from several threads.

    Args:
        folder: The run folder.
        name: Path name; the files are `<name>.arrows` and `<name>.journal`.
        run_id: Identity of the run, so that files of two runs cannot be mixed.
        vocabulary: Collects token ids, or None.
        codec: Compression of sealed batches, `zstd` or `lz4`.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        run_id: str,
        vocabulary: VocabularyWriter | None = None,
        codec: str = "zstd",
    ) -> None:
        self.name = name
        self._run_id = run_id
        self._vocabulary = vocabulary
        self._lock = threading.RLock()
        self._stream = StreamFile(
            folder / f"{name}.arrows", arrow_schema(), {"run": run_id, "path": name}, codec
        )
        self._journal = Journal(folder / f"{name}.journal", self._head())
        self._open: dict[int, OpenStep] = {}
        self._pending: list[tuple[int, Mapping[str, Value]]] = []
        self._pending_bytes = 0
        self._next_uid = 0
        self._num_incomplete = 0
        self._closed = False

    @property
    def num_steps(self) -> int:
        """Finished steps so far."""
        return self._stream.sealed.rows + len(self._unsealed())

    def begin(self, at: tuple[int, int, int]) -> OpenStep:
        """Begin a step; nothing is written yet.

        Raises:
            TraceError: The path is closed.
        """
        with self._lock:
            if self._closed:
                raise TraceError(f"path {self.name} is closed; open a new run to record more")
            step = OpenStep(self._next_uid, at)
            self._next_uid += 1
            self._open[step.uid] = step
            return step

    def stage(
        self, step: OpenStep, stage: str, columns: Mapping[str, Value], inputs: Mapping[str, Value]
    ) -> None:
        """Journal what is new in the step and the inputs of the stage about to run, in one write.

        Raises:
            EnvironmentProblemError: The disk refused it.
        """
        facts = {"uid": step.uid, "at": step.at, "stage": stage}
        record = journal_frames.encode(journal_frames.STAGE, facts, columns, inputs)
        with self._lock:
            step.records.append(record)
            self._journal.append(record)

    def finish(
        self, step: OpenStep, columns: Mapping[str, Value], row: Mapping[str, Value], num_bytes: int
    ) -> None:
        """Journal the end of a step and seal a batch when one is full.

        Args:
            step: From `begin`.
            columns: What is new since its last journal record.
            row: The whole row.
            num_bytes: About what the row takes in memory.

        Raises:
            EnvironmentProblemError: The disk refused it; the row is kept and tried again at the next seal.
        """
        with self._lock:
            number = self._stream.sealed.rows + len(self._unsealed())
            self._pending.append((number, row))
            self._open.pop(step.uid, None)
            self._num_incomplete += row.get("incomplete") is not None
            self._pending_bytes += num_bytes
            facts = {"uid": step.uid, "at": step.at, "row": number}
            tokens = self._vocabulary.take(row) if self._vocabulary is not None else []
            self._journal.append(*tokens, journal_frames.encode(journal_frames.END, facts, columns))
            if len(self._pending) >= MAX_BATCH_STEPS or self._pending_bytes >= MAX_PENDING_BYTES:
                self.seal()

    def seal(self) -> None:
        """Write pending rows as batches, then let a fresh journal take the old one's place.

        Raises:
            EnvironmentProblemError: The disk refused it; nothing is lost, the journal still holds the rows.
        """
        with self._lock:
            if self._vocabulary is not None:
                self._vocabulary.seal()
            while rows := [row for _, row in self._unsealed()[:MAX_BATCH_STEPS]]:
                self._stream.append(batch_of_rows(rows))
            self._pending, self._pending_bytes = [], 0
            self._journal.restart(
                self._head(), [record for step in self._open.values() for record in step.records]
            )

    def append_batch(self, batch: pa.RecordBatch) -> None:
        """Seal rows that are Arrow already (merge, slice, repair); they must be in this format's schema.

        Raises:
            TraceError: There are pending rows, or too many in the batch.
        """
        if self._unsealed() or batch.num_rows > MAX_BATCH_STEPS:
            raise TraceError(f"a batch of at most {MAX_BATCH_STEPS} rows should follow sealed rows")
        self._num_incomplete += batch.num_rows - batch.column("incomplete").null_count
        self._stream.append(batch)
        self._journal.restart(self._head(), ())  # its head counts what is sealed

    def close(self) -> dict[str, Any]:
        """Seal the rest, write the end record and return counts and checksum for the manifest.

        Raises:
            EnvironmentProblemError: The disk refused it; the trace so far stays readable.
        """
        with self._lock:
            self._closed = True
            try:
                self.seal()
                return self._stream.close(num_incomplete=self._num_incomplete)
            except BaseException:
                self._stream.abandon()
                raise
            finally:
                self._journal.close(remove=False)

    def _unsealed(self) -> list[tuple[int, Mapping[str, Value]]]:
        """Return pending rows that no sealed batch holds; an interrupt may fall inside a seal."""
        sealed = self._stream.sealed.rows
        return [entry for entry in self._pending if entry[0] >= sealed]

    def _head(self) -> dict[str, Any]:
        return {"run": self._run_id, "path": self.name, **self._stream.sealed.facts()}
