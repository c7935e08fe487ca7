"""Finds the frames of a stream file, piece by piece: proven, or by their heads alone."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any, Final

from tracing import frames
from tracing.frames import Frame, Opening
from tracing.ipc_message import MAX_FRAME_BYTES, CorruptFrameError, TornFrameError

_WINDOW: Final = 1 << 20
"""Bytes that are read at a time; they hold several frames."""
_HEAD_WINDOW: Final = 1 << 11
"""Holds, behind the dictionaries, tables and facts of a batch. A frame that it does not hold is proven."""
_MOST_HEADS: Final = 1 << 14


def read_at(file: Any, start: int, length: int) -> bytes:
    """Return the bytes at `start`, fewer at the end of the file."""
    data = b""
    while len(data) < length and (more := os.pread(file.fileno(), length - len(data), start + len(data))):
        data = data + more if data else more
    return data


class Scanner:
    """Finds the frames of an open file, one after another.

    Args:
        file: The file.
        opening: What the frame before began with.
    """

    def __init__(self, file: Any, opening: Opening | None = None) -> None:
        self._file = file
        self._opening = opening or Opening()
        self._ahead = memoryview(b"")
        self._start = 0

    def head(self, start: int, size: int) -> Frame | None:
        """Return the unproven frame of the batch at `start`; None for anything that needs a closer look.

        Args:
            start: Where it begins.
            size: Of the file.
        """
        for window in (len(self._opening.data) + _HEAD_WINDOW, _MOST_HEADS):
            try:
                data = memoryview(read_at(self._file, start, window))
                frame = frames.scan_head(data, size - start, self._opening)
            except (TornFrameError, CorruptFrameError):
                continue
            if frame is None or frame.facts.get("kind") != "batch":
                return None
            return Frame(start, start + frame.stop, frame.facts)
        return None

    def scan(self, start: int) -> tuple[Frame | None, bytes | memoryview]:
        """Return the proven frame at `start`, None at the end of the stream, and its bytes.

        They are looked for in what was read ahead, then in a window that grows as far as the bytes and the
        bound allow.

        Raises:
            TornFrameError: The bytes end inside it.
            CorruptFrameError: It is no frame, or not what was written.
        """
        window, is_ahead = _WINDOW, self._start <= start < self._start + len(self._ahead)
        data = self._ahead[start - self._start :] if is_ahead else self._read(start, window)
        while True:
            try:
                frame = frames.scan_frame(data, 0, self._opening)
            except TornFrameError as problem:
                if not is_ahead:
                    if len(data) < window or window > 2 * MAX_FRAME_BYTES:
                        raise TornFrameError(f"after byte {start}: {problem}") from None
                    window *= 4
                is_ahead = False
                data = self._read(start, window)
                continue
            except CorruptFrameError as problem:
                raise _moved(problem, start) from None
            if frame is None:
                return None, b""
            return Frame(start, start + frame.stop, frame.facts), data[: frame.stop]

    def _read(self, start: int, length: int) -> memoryview:
        self._ahead, self._start = memoryview(read_at(self._file, start, length)), start
        return self._ahead


def _moved(problem: CorruptFrameError, start: int) -> CorruptFrameError:
    """Return the problem with positions in the file instead of the window."""
    moved = CorruptFrameError(f"after byte {start}: {problem}")
    if problem.resume_at is not None:
        moved.resume_at = start + problem.resume_at
    return moved


def check_batch(frame: Frame, before: tuple[int, int, str] | None, max_rows: int | None) -> None:
    """Check the facts of a batch.

    Args:
        frame: The batch.
        before: Batches and rows before it, and the checksum of the frame before it; None after damage.
        max_rows: Most rows that it may have; any number when None.

    Raises:
        CorruptFrameError: It has no counts, too many rows, or does not follow the frame before it.
    """
    facts = frame.facts
    counts = facts.get("number"), facts.get("first_row"), facts.get("num_rows")
    for count in counts:
        if type(count) is not int or not 0 <= count < 1 << 53:
            raise CorruptFrameError(f"batch at byte {frame.start} has no counts")
    if max_rows is not None and facts["num_rows"] > max_rows:
        raise CorruptFrameError(
            f"batch at byte {frame.start} claims {facts['num_rows']} rows, at most {max_rows} fit"
        )
    if "others" in facts and not _are_rows(facts["others"], facts["num_rows"]):
        raise CorruptFrameError(f"batch at byte {frame.start} leaves out rows that it does not have")
    if before is not None and before != (counts[0], counts[1], facts.get("previous")):
        raise CorruptFrameError(f"batch at byte {frame.start} does not follow the one before it")


def _are_rows(rows: Any, num_rows: int) -> bool:
    """Return whether this is an ascending list of rows of a batch."""
    if not isinstance(rows, list) or not all(type(row) is int for row in rows):
        return False
    return all(low < high for low, high in pairwise([-1, *rows, num_rows]))
