"""Finds the state of a recorded run, as cheaply as it allows: a whole run is not read twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tracing.integrity import verify_run
from tracing.reader import Run


@dataclass(frozen=True, slots=True)
class State:
    """State of a run folder.

    Attributes:
        name: `complete`, `truncated`, `torn` or `corrupt`.
        is_damaged: Something that was written is not there as it was; a run whose writer was killed is not
            damaged, only not closed.
        problems: One sentence each.
    """

    name: str
    is_damaged: bool
    problems: tuple[str, ...]


def state_of(run: Run, unread: Sequence[str] = ()) -> State:
    """Judge an opened run.

    Args:
        run: As `open_run` gave it.
        unread: Sentences about batches that could not be unpacked.
    """
    damage = [*run.problems, *unread]
    paths = [run.path(name) for name in run.path_names]
    for path in paths:
        damage += path.problems
    # A full disk may keep a path from being closed though the manifest records that the run has ended.
    closed = all("bytes" in path.entry and path.stream.end is not None for path in paths)
    if not damage and closed and run.status not in {"", "running"}:
        return State("complete", False, ())
    health = verify_run(run.folder)
    if run.status == "running" and run.being_written:
        ending = "the run is still being written"
    else:
        ending = "its writer ended without closing it"
    of_files = [f"{file.name}: {file.message}" for file in health.files if file.message]
    problems = tuple(dict.fromkeys([*damage, *of_files, *([ending] if run.status == "running" else [])]))
    return State(health.state, bool(damage), problems)
