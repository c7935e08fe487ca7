"""Where in a path steps are missing: damaged batches, and steps that were never recorded."""

from __future__ import annotations

from bisect import bisect_left

from tracing.journal import gaps_of
from tracing.path_reader import PathReader


def unrecorded_steps(path: PathReader) -> dict[int, int]:
    """Return how many steps ended before which row and were never recorded, as the writer counted them.

    A full disk may not take them for a while, or a signal handler records in the middle of a write. Rows of
    all kinds are counted.
    """
    stated = path.entry.get("lost") or (path.stream.end or {}).get("lost") or []
    try:
        return gaps_of(stated) or path.journal.lost
    except (ValueError, TypeError):
        return {}


def gaps(path: PathReader) -> list[int]:
    """Return the readable steps, by their numbers in `path`, before which something is missing.

    A step after a gap has another predecessor than the one before it in the file.
    """
    lost = sorted(unrecorded_steps(path))
    found: set[int] = set()
    expected = step = 0
    for number, frame in enumerate(path.stream.batches):
        first, num_rows = frame.facts["first_row"], frame.facts["num_rows"]
        others = path.stream.left_out(number)
        if first != expected:
            found.add(step)
        for place in lost[bisect_left(lost, first) : bisect_left(lost, first + num_rows)]:
            found.add(step + place - first - bisect_left(others, place - first))
        expected, step = first + num_rows, step + num_rows - len(others)
    for at, row in enumerate(path.unsealed):
        before = path.unsealed[at - 1] if at else expected - 1
        missing = any(number not in path.journal.rows for number in range(before + 1, row))
        if missing or bisect_left(lost, before + 1) < bisect_left(lost, row + 1):
            found.add(step + at)
    return sorted(each for each in found if each < path.num_steps)
