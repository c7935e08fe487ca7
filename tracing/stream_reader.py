"""The reading end of one self-proving Arrow stream: every byte is proven before any of it is believed.

Proving a long file takes as long as reading it. Who has someone waiting reads it `lazily`: then schema, end
record and the chain of the batches' heads are looked at first, and each batch is proven when it is read.
"""

from __future__ import annotations

import bisect
import heapq
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from tracing import frames
from tracing.errors import TraceError
from tracing.frames import END_OF_STREAM, Frame
from tracing.ipc_message import MAX_FRAME_BYTES, CorruptFrameError, TornFrameError
from tracing.manifest import check_format

_WINDOW: Final = 1 << 19
_HEAD_WINDOW: Final = 1 << 14
"""Holds a batch's dictionaries and its head with ease: some 8 KB. A frame that it does not hold is proven."""


class DisprovedError(CorruptFrameError):
    """A batch that was taken on the word of its head is not what was written; the file was read again."""


class StreamReader:
    """Frames of one file, read piece by piece; `refresh` goes on where a growing file has more.

    Args:
        path: The file.
        expected: Schema that this version knows; only its columns are ever unpacked.
        lazily: Leave the proof of a batch to the moment at which it is read, or to `prove_some`. At the first
            one that fails the whole file is read again, proving everything, as without this.

    Attributes:
        path: The file.
        columns: Number of each expected column that the file has, None while its schema is unreadable.
        facts: What the schema frame says: `format`, `run`, ...
        batches: Batches in order, proven but for the `unproven`.
        unproven: Numbers of the batches of which only the head was looked at.
        end: Facts of the end record, None without one.
        bad: Sentences about damaged batches that could be stepped over.
        problem: What stopped the reading, None at a clean end.
        num_bytes: Bytes read so far.
        last_crc: Checksum of the last frame.
    """

    def __init__(self, path: Path, expected: pa.Schema, *, lazily: bool = False) -> None:
        self.path = path
        self._expected = expected
        self._lazily = lazily
        self._begin()
        self.refresh()

    def _begin(self) -> None:
        """Forget all that was read."""
        self.columns: dict[str, int] | None = None
        self.facts: dict[str, Any] = {}
        self.batches: list[Frame] = []
        self.unproven: set[int] = set()
        self.end: dict[str, Any] | None = None
        self.bad: list[str] = []
        self.problem: TraceError | None = None
        self.num_bytes = 0
        self.last_crc = ""
        self._schema_frame = b""
        self._first_rows: list[int] = []
        self._num_rows = 0
        self.__dict__.pop("schema", None)

    @property
    def num_rows(self) -> int:
        """Readable rows."""
        return self._num_rows

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
            with self.path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                while self.end is None and self._next_frame(file, size):
                    pass
        except OSError as problem:
            self.problem = CorruptFrameError(f"cannot be read: {problem.strerror or problem}")
        except (TornFrameError, CorruptFrameError) as problem:
            self.problem = problem

    def read(self, number: int, names: Sequence[str] | None = None) -> pa.RecordBatch:
        """Return one proven batch with all known columns of the file, or those named, in file order.

        Raises:
            CorruptFrameError: Arrow does not accept it, or it is not as long as it says.
        """
        return self.unpack(number, self.stored(number), names)

    def stored(self, number: int) -> bytes:
        """Return one proven batch as it lies in the file, packed.

        Raises:
            DisprovedError: It was not proven before, and is not what was written.
        """
        frame = self.batches[number]
        with self.path.open("rb") as file:
            data = _read_at(file, frame.start, frame.stop - frame.start)
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
            proven = frames.scan_frame(memoryview(data), 0)
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
        """Read the file again from its start, as one does who is not in a hurry."""
        self._lazily = False
        self._begin()
        self._read_on()

    def unpack(self, number: int, data: bytes, names: Sequence[str] | None = None) -> pa.RecordBatch:
        """Return the columns of a batch that `stored` gave; as `read`.

        Raises:
            CorruptFrameError: Arrow does not accept it, or it is not as long as it says.
        """
        columns = self.columns or {}
        wanted = [columns[name] for name in (columns if names is None else names)]
        batch = frames.decode_batch(self._schema_frame, data, wanted)
        if batch.num_rows != self.batches[number].facts["num_rows"]:
            raise CorruptFrameError(f"batch {number} has {batch.num_rows} rows and says otherwise")
        return batch

    @cached_property
    def schema(self) -> pa.Schema:
        """Schema of the file, columns that this version does not know included."""
        return pa.ipc.read_schema(pa.py_buffer(self._schema_frame))

    def locate(self, row: int) -> tuple[int, int]:
        """Return the batch that holds a row, and the row within it."""
        number = bisect.bisect_right(self._first_rows, row) - 1
        return number, row - self._first_rows[number]

    def _next_frame(self, file: Any, size: int) -> bool:
        """Take in one more frame; False at the end of the bytes, of which there were `size`."""
        start = self.num_bytes
        if size <= start:
            if self.columns is None:
                raise TornFrameError("holds no schema")
            return False
        if self._lazily and self.columns is not None:
            head = _batch_head(file, start, size)
            if head is not None:
                self.unproven.add(len(self.batches))
                self._take(file, head, b"")
                return True
        try:
            frame, data = _scan(file, start)
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

    def _take(self, file: Any, frame: Frame, data: bytes) -> None:
        if self.columns is None:
            check_format(frame.facts.get("format"), self.path.name)
            self.columns = frames.decode_columns(data, self._expected)
            self.facts, self._schema_frame = frame.facts, data
        elif frame.facts.get("kind") == "batch":
            self._check_batch(frame)
            self._first_rows.append(self._num_rows)
            self.batches.append(frame)
            self._num_rows += frame.facts["num_rows"]
        else:
            self._take_end(file, frame)
        self.num_bytes, self.last_crc = frame.stop + (8 if self.end is not None else 0), frame.facts["crc32"]

    def _check_batch(self, frame: Frame) -> None:
        facts = frame.facts
        counts = [facts.get(key) for key in ("number", "first_row", "num_rows")]
        if not all(type(count) is int and 0 <= count < 1 << 53 for count in counts):
            raise CorruptFrameError(f"batch at byte {frame.start} has no counts")
        if self.bad:
            return
        if counts[:2] != [len(self.batches), self._num_rows] or facts.get("previous") != self.last_crc:
            raise CorruptFrameError(f"batch at byte {frame.start} does not follow the one before it")

    def _take_end(self, file: Any, frame: Frame) -> None:
        facts = frame.facts
        if facts.get("kind") != "end":
            raise CorruptFrameError(f"frame at byte {frame.start} is neither batch nor end record")
        counts = [facts.get("num_batches"), facts.get("num_rows"), facts.get("previous")]
        if not self.bad and counts != [len(self.batches), self._num_rows, self.last_crc]:
            raise CorruptFrameError(f"end record at byte {frame.start} does not fit what stands before it")
        mark = _read_at(file, frame.stop, len(END_OF_STREAM) + 1)
        if mark != END_OF_STREAM:
            if END_OF_STREAM.startswith(mark):
                raise TornFrameError("ends inside the end-of-stream mark")
            raise CorruptFrameError("the end-of-stream mark is not what was written, or bytes follow it")
        self.end = facts


def _read_at(file: Any, start: int, length: int) -> bytes:
    file.seek(start)
    data: bytes = file.read(length)
    return data


def _batch_head(file: Any, start: int, size: int) -> Frame | None:
    """Return the unproven frame of the batch at `start`; None for anything that needs a closer look."""
    try:
        frame = frames.scan_head(memoryview(_read_at(file, start, _HEAD_WINDOW)), size - start)
    except (TornFrameError, CorruptFrameError):
        return None
    if frame is None or frame.facts.get("kind") != "batch":
        return None
    return Frame(start, start + frame.stop, frame.facts)


def _scan(file: Any, start: int) -> tuple[Frame | None, bytes]:
    """Scan the frame at `start` in a window that grows as far as the bytes and the bound allow."""
    window = _WINDOW
    while True:
        data = _read_at(file, start, window)
        try:
            frame = frames.scan_frame(memoryview(data), 0)
        except TornFrameError as problem:
            if len(data) < window or window > 2 * MAX_FRAME_BYTES:
                raise TornFrameError(f"after byte {start}: {problem}") from None
            window *= 4
            continue
        except CorruptFrameError as problem:
            raise _moved(problem, start) from None
        if frame is None:
            return None, b""
        return Frame(start, start + frame.stop, frame.facts), data[: frame.stop]


def _moved(problem: CorruptFrameError, start: int) -> CorruptFrameError:
    """Return the problem with positions in the file instead of the window."""
    moved = CorruptFrameError(f"after byte {start}: {problem}")
    if problem.resume_at is not None:
        moved.resume_at = start + problem.resume_at
    return moved
