"""Whether a journal continues the stream beside it; its head names the place where it began."""

from __future__ import annotations

import bisect

from tracing.ipc_message import CorruptFrameError
from tracing.journal import JournalContent
from tracing.stream_reader import StreamReader


def misfit(journal: JournalContent, stream: StreamReader) -> str:
    """Return the sentence about a journal of another state of the run; empty for one that fits.

    Files of the same run may still not belong together, e.g. after one of them came back from a backup.
    """
    head = journal.head
    if head is None:
        return ""
    rows, place = head["rows"], head["bytes"]
    if stream.end is not None and any(number >= stream.end["num_rows"] for number in journal.rows):
        return "holds steps that its closed stream does not: it is of another state of the run"
    is_damaged = bool(stream.bad) or isinstance(stream.problem, CorruptFrameError)
    found = _state_at(stream, place)
    if found is None:
        is_beyond = place > stream.num_bytes
        return "" if is_damaged or is_beyond else "does not continue this stream: it began at another place"
    if (head["batches"], rows, head["crc32"]) != found:
        return "does not continue this stream: another state of it was sealed when it began"
    last = stream.batches[-1].facts if stream.batches else {}
    if (
        journal.is_chained
        and not last.get("unjournaled")
        and not is_damaged
        and not set(range(rows, stream.num_stored)) <= journal.rows.keys()
    ):
        return "is older than its stream: it lacks steps that were sealed after it began"
    return ""


def _state_at(stream: StreamReader, place: int) -> tuple[int, int, str] | None:
    """Return batches, rows and checksum of what was whole when the file had so many bytes.

    None where no frame ended there, or none that can be read.
    """
    if not stream.head_bytes:
        return None
    if place == stream.head_bytes:
        return 0, 0, str(stream.facts["crc32"])
    number = bisect.bisect_left(stream.batches, place, key=lambda frame: frame.stop)
    if number == len(stream.batches) or stream.batches[number].stop != place:
        return None
    facts = stream.batches[number].facts
    return facts["number"] + 1, facts["first_row"] + facts["num_rows"], facts["crc32"]


def missing_rows(journal: JournalContent, first: int) -> tuple[int, int]:
    """Return how many finished steps are in neither file: sealed ones, and ones that the journal lacks.

    Args:
        journal: One that fits.
        first: Number of the first row that no batch holds.
    """
    if journal.head is None:
        return 0, 0
    begun = max(first, journal.head["rows"])
    numbers = [number for number in journal.rows if number >= begun]
    missing = max(numbers, default=begun - 1) + 1 - begun - len(numbers)
    return begun - first, missing
