"""The reading end of one self-proving Arrow stream: every byte is proven before any of it is used.

Proving a long file takes as long as reading it. Interactive readers read it `lazily`: then schema, end
record and the chain of the batches' heads are looked at first, and each batch is proven when it is read.
"""

from __future__ import annotations

import bisect
import heapq
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tracing import frames
from tracing.columns import KEY_COLUMNS
from tracing.errors import TraceError
from tracing.files import open_regular
from tracing.frames import END_OF_STREAM, Frame
from tracing.identity import Identity
from tracing.ipc_message import MAX_BATCH_STEPS, CorruptFrameError, TornFrameError
from tracing.manifest import check_format
from tracing.older import in_current_words
from tracing.scanning import Scanner, check_batch, read_at
from tracing.shares import Shares
from tracing.unpacking import Unpacker


class DisprovedError(CorruptFrameError):
    """A batch of which only the head had been read is not what was written; the file was read again."""


class StreamReader:
    """Frames of one file, read piece by piece; `refresh` continues where a growing file has more.

    Args:
        path: The file.
        expected: Schema that this version knows; only its columns are ever unpacked.
        own: Whose file it should be; nothing of another one is read.
        lazily: Leave the proof of a batch to the moment at which it is read, or to `prove_some`. At the first
            one that fails the whole file is read again, proving everything, as without this.
        every_row: Give out rows that are no steps too (`row_kind`); batches list them in their metadata.

    Attributes:
        path: The file.
        columns: Number of each expected column that the file has, None while its schema is unreadable.
        facts: Metadata of the schema frame: `format`, `run`, ...
        batches: Batches in order, proven but for the `unproven`.
        unproven: Numbers of the batches of which only the head was looked at.
        end: Facts of the end record, None without one.
        bad: Sentences about damaged batches that could be stepped over.
        problem: What stopped the reading, None at a clean end.
        num_stored: Rows of all kinds in the readable batches.
        num_bytes: Bytes read so far.
        last_crc: Checksum of the last frame.
        unpacker: Unpacks its batches.
        generation: Counts up whenever the rows are numbered anew.
    """

    def __init__(
        self, path: Path, expected: pa.Schema, own: Identity, *, lazily: bool = False, every_row: bool = False
    ) -> None:
        self.path = path
        self._own = own
        self._expected = expected
        self._lazily = lazily
        self._every_row = every_row
        self._max_rows = MAX_BATCH_STEPS if KEY_COLUMNS[0] in expected.names else None
        self.generation = 0
        self._begin()
        self.refresh()

    def _begin(self) -> None:
        self.columns: dict[str, int] | None = None
        self.facts: dict[str, Any] = {}
        self.batches: list[Frame] = []
        self.unproven: set[int] = set()
        self.end: dict[str, Any] | None = None
        self.bad: list[str] = []
        self.problem: TraceError | None = None
        self.num_bytes = 0
        self.last_crc = ""
        self.unpacker = Unpacker(b"", {})
        self._opening = frames.Opening()
        self._first_rows: list[int] = []
        self._num_rows = 0
        self.num_stored = 0

    @property
    def num_rows(self) -> int:
        """Readable rows."""
        return self._num_rows

    @property
    def has_other_rows(self) -> bool:
        """Whether a batch has rows that are no steps."""
        return any(frame.facts.get("others") for frame in self.batches)

    def left_out(self, number: int) -> list[int]:
        """Return which rows of a batch are not given out, because they are no steps."""
        rows: list[int] = [] if self._every_row else self.batches[number].facts.get("others", [])
        return rows

    @property
    def size(self) -> int:
        """Bytes of the file now; 0 where there is none."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def refresh(self) -> None:
        """Read what is new.

        Raises:
            TraceError: The file is of a newer major version.
        """
        self._read_on()
        if self._lazily and (self.bad or isinstance(self.problem, CorruptFrameError)):
            self._prove_all()

    def _read_on(self) -> None:
        self.problem = None
        try:
            with open_regular(self.path) as file:
                size = os.fstat(file.fileno()).st_size
                scanner = Scanner(file, self._opening)
                while self.end is None and self._next_frame(file, scanner, size):
                    pass
        except OSError as problem:
            self.problem = CorruptFrameError(f"cannot be read: {problem.strerror or problem}")
        except (TornFrameError, CorruptFrameError) as problem:
            self.problem = problem

    def read(
        self, number: int, names: Sequence[str] | None = None, *, filled: bool = False
    ) -> pa.RecordBatch:
        """Return one proven batch with all known columns of the file, or those named, in file order.

        Args:
            number: Of the batch.
            names: Columns; those that the file lacks are left out.
            filled: Leave out columns that are null throughout; at least one column is there.

        Raises:
            CorruptFrameError: Arrow does not accept it, or its length is not the recorded one.
        """
        return self.unpack(number, self.stored(number), names, filled=filled)

    def stored(self, number: int) -> bytes:
        """Return one proven batch as it lies in the file, packed.

        Raises:
            DisprovedError: It was not proven before, and is not what was written.
        """
        frame = self.batches[number]
        with open_regular(self.path) as file:
            data = read_at(file, frame.start, frame.stop - frame.start)
        if number in self.unproven:
            self._prove(number, data)
        return data

    def prove_some(self, count: int) -> int:
        """Prove some more batches, the first ones first; return how many are left.

        Raises:
            DisprovedError: One is not what was written.
        """
        for number in heapq.nsmallest(count, self.unproven):
            self.stored(number)
        return len(self.unproven)

    def _prove(self, number: int, data: bytes) -> None:
        frame = self.batches[number]
        try:
            proven = frames.scan_frame(memoryview(data), 0, self._opening)
        except (TornFrameError, CorruptFrameError):
            proven = None
        if proven is None or (proven.stop, proven.facts) != (len(data), frame.facts):
            self._prove_all()
            raise DisprovedError(
                f"batch {number} of {self.path.name} is not what was written (checksum); "
                f"{self.num_rows} steps of the file are whole"
            )
        self.unproven.discard(number)

    def _prove_all(self) -> None:
        """Read the file again from its start, proving every batch."""
        self._lazily = False
        self.generation += 1
        self._begin()
        self._read_on()

    def unpack(
        self, number: int, data: bytes, names: Sequence[str] | None = None, *, filled: bool = False
    ) -> pa.RecordBatch:
        """Return the columns of a batch that `stored` gave; as `read`.

        Raises:
            CorruptFrameError: Arrow does not accept it, or its length is not the recorded one.
        """
        num_rows = self.batches[number].facts["num_rows"]
        batch = self.unpacker.unpack(data, num_rows, None if names is None else tuple(names), filled=filled)
        for name in ("token_id", *KEY_COLUMNS):
            if name in batch.schema.names and batch.column(name).null_count:
                raise CorruptFrameError(f"batch {number} has rows without {name}")
        others = set(self.left_out(number))
        if others:
            steps = [row for row in range(batch.num_rows) if row not in others]
            batch = batch.take(pa.array(steps, pa.int64()))
        return in_current_words(batch)

    @property
    def schema(self) -> pa.Schema:
        """Schema of the file, columns that this version does not know included."""
        return self.unpacker.schema

    @property
    def shares(self) -> Shares:
        """Nodes and buffers of each column of the file."""
        return self.unpacker.shares

    @property
    def head_bytes(self) -> int:
        """Size of the schema frame; 0 while it is unreadable."""
        return len(self.unpacker.schema_frame)

    def num_given(self, number: int) -> int:
        """Return how many rows of a batch are given out."""
        return int(self.batches[number].facts["num_rows"]) - len(self.left_out(number))

    def locate(self, row: int) -> tuple[int, int]:
        """Return the batch that holds a row, and the row within it."""
        number = bisect.bisect_right(self._first_rows, row) - 1
        return number, row - self._first_rows[number]

    def _next_frame(self, file: Any, scanner: Scanner, size: int) -> bool:
        """Take in one more frame; False at the end of the bytes, of which there were `size`."""
        start = self.num_bytes
        if size <= start:
            if self.columns is None:
                raise TornFrameError("holds no schema")
            return False
        if self._lazily and self.columns is not None:
            head = scanner.head(start, size)
            if head is not None:
                self.unproven.add(len(self.batches))
                self._take(file, head, b"")
                return True
        try:
            frame, data = scanner.scan(start)
        except CorruptFrameError as problem:
            resume_at = problem.resume_at
            if resume_at is None or self.columns is None:
                raise
            self.bad.append(f"batch {len(self.batches) + len(self.bad)}: {problem}")
            self.num_bytes, self.last_crc = resume_at, ""
            return True
        if frame is None:
            raise CorruptFrameError(f"end-of-stream mark without an end record at byte {start}")
        self._take(file, frame, data)
        return True

    def _take(self, file: Any, frame: Frame, data: bytes | memoryview) -> None:
        if self.columns is None:
            check_format(frame.facts.get("format"), self.path.name)
            self._own.require(frame.facts)
            self.columns = frames.decode_columns(bytes(data), self._expected)
            needed = self._expected.names if self._max_rows is None else KEY_COLUMNS
            if not self.columns.keys() >= set(needed):
                self.columns = None
                raise CorruptFrameError(f"its schema lacks {', '.join(needed[:-1])} or {needed[-1]}")
            self.facts, self.unpacker = frame.facts, Unpacker(bytes(data), self.columns)
        elif frame.facts.get("kind") == "batch":
            before = None if self.bad else (len(self.batches), self.num_stored, self.last_crc)
            check_batch(frame, before, self._max_rows)
            self._first_rows.append(self._num_rows)
            self.batches.append(frame)
            self.num_stored += frame.facts["num_rows"]
            self._num_rows += self.num_given(len(self.batches) - 1)
        else:
            self._take_end(file, frame)
        self.num_bytes, self.last_crc = frame.stop + (8 if self.end is not None else 0), frame.facts["crc32"]

    def _take_end(self, file: Any, frame: Frame) -> None:
        facts = frame.facts
        if facts.get("kind") != "end":
            raise CorruptFrameError(f"frame at byte {frame.start} is neither batch nor end record")
        counts = [facts.get("num_batches"), facts.get("num_rows"), facts.get("previous")]
        if not self.bad and counts != [len(self.batches), self.num_stored, self.last_crc]:
            raise CorruptFrameError(f"end record at byte {frame.start} does not fit what comes before it")
        mark = read_at(file, frame.stop, len(END_OF_STREAM) + 1)
        if mark != END_OF_STREAM:
            if END_OF_STREAM.startswith(mark):
                raise TornFrameError("ends inside the end-of-stream mark")
            raise CorruptFrameError("the end-of-stream mark is not what was written, or bytes follow it")
        self.end = facts
