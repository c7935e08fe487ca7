"""Finds the frames of a stream file, piece by piece: proven, or by their heads alone."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

from tracing import frames
from tracing.frames import Frame
from tracing.ipc_message import MAX_FRAME_BYTES, CorruptFrameError, TornFrameError

_WINDOW: Final = 1 << 19
_HEAD_WINDOW: Final = 1 << 14
"""Holds a batch's dictionaries and its head with ease: some 8 KB. A frame that it does not hold is proven."""


def read_at(file: Any, start: int, length: int) -> bytes:
    """Return the bytes at `start`, fewer at the end of the file."""
    file.seek(start)
    data: bytes = file.read(length)
    return data


def batch_head(file: Any, start: int, size: int) -> Frame | None:
    """Return the unproven frame of the batch at `start`; None for anything that needs a closer look."""
    try:
        frame = frames.scan_head(memoryview(read_at(file, start, _HEAD_WINDOW)), size - start)
    except (TornFrameError, CorruptFrameError):
        return None
    if frame is None or frame.facts.get("kind") != "batch":
        return None
    return Frame(start, start + frame.stop, frame.facts)


def scan(file: Any, start: int) -> tuple[Frame | None, bytes | memoryview]:
    """Scan the frame at `start` in a window that grows as far as the bytes and the bound allow."""
    window = _WINDOW
    while True:
        data = read_at(file, start, window)
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
        return Frame(start, start + frame.stop, frame.facts), memoryview(data)[: frame.stop]


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
    counts = [facts.get(key) for key in ("number", "first_row", "num_rows")]
    if not all(type(count) is int and 0 <= count < 1 << 53 for count in counts):
        raise CorruptFrameError(f"batch at byte {frame.start} has no counts")
    if max_rows is not None and facts["num_rows"] > max_rows:
        raise CorruptFrameError(
            f"batch at byte {frame.start} claims {facts['num_rows']} rows, at most {max_rows} fit"
        )
    if not _are_rows(facts.get("others", []), facts["num_rows"]):
        raise CorruptFrameError(f"batch at byte {frame.start} leaves out rows that it does not have")
    if before is not None and before != (*counts[:2], facts.get("previous")):
        raise CorruptFrameError(f"batch at byte {frame.start} does not follow the one before it")


def _are_rows(rows: Any, num_rows: int) -> bool:
    """Return whether this is an ascending list of rows of a batch."""
    if not isinstance(rows, list) or not all(type(row) is int for row in rows):
        return False
    return all(low < high for low, high in pairwise([-1, *rows, num_rows]))
