"""Whose a file is: every file names its run, streams and journals their path; readers compare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tracing import journal_frames
from tracing.errors import TraceError
from tracing.files import is_being_written, open_regular
from tracing.ipc_message import CorruptFrameError
from tracing.scanning import Scanner, read_at

_HEAD_BYTES: Final = 1 << 13
"""Holds the head record of a journal with ease."""


class ForeignFileError(CorruptFrameError):
    """A file of another run or another path; nothing of it is ever read."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a file must say of itself to belong to a run.

    Attributes:
        run: Identity of the run, empty where it is not known.
        path: Name of the path, empty for files of the whole run.
        format: Format version of the run; empty where it is not known.
    """

    run: str = ""
    path: str = ""
    format: str = ""

    @property
    def is_named(self) -> bool:
        """Whether every file of the run names its run and path; those of format 1.0 need not."""
        return self.format not in {"", "1.0"}

    def of_path(self, path: str) -> Identity:
        """Return the identity of a path of the same run."""
        return Identity(self.run, path, self.format)

    def foreign(self, facts: Mapping[str, Any]) -> str:
        """Return the sentence about a head that names another run or path, or none; empty where it fits."""
        run, path = facts.get("run"), facts.get("path")
        if self.run and (run or (None if self.is_named else self.run)) != self.run:
            return "belongs to another run than the manifest" if run else "names no run, so it is of no run"
        if self.path and (path or (None if self.is_named else self.path)) != self.path:
            return f"is a file of path {str(path)[:64]!r}, not of {self.path}" if path else "names no path"
        return ""

    def require(self, facts: Mapping[str, Any]) -> None:
        """Refuse a head that does not fit.

        Raises:
            ForeignFileError: As `foreign` says.
        """
        sentence = self.foreign(facts)
        if sentence:
            raise ForeignFileError(sentence)


def identity_of(manifest: Mapping[str, Any]) -> Identity:
    """Return what files must say to belong to the run of a manifest."""
    run_id, version = manifest.get("run_id"), manifest.get("format")
    return Identity(run_id if isinstance(run_id, str) else "", "", str(version or ""))


def named_runs(folder: Path) -> Counter[str]:
    """Return how many streams and journals of a folder name each run; unreadable ones count for none."""
    return Counter(run for _, run in heads(folder) if run)


def heads(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield every file of a folder that is a stream or a journal of a trace, and the run that it names."""
    for path in sorted([*folder.glob("*.arrows"), *folder.glob("*.journal")]):
        facts = head_facts(path)
        if facts is not None:
            yield path, str(facts.get("run") or "")


def head_facts(path: Path) -> dict[str, Any] | None:
    """Return what the proven head of a stream or journal says; None where there is none."""
    try:
        with open_regular(path) as file:
            if path.suffix == ".arrows":
                frame, _ = Scanner(file).scan(0)
                return None if frame is None else frame.facts
            entry, _ = next(journal_frames.scan(memoryview(read_at(file, 0, _HEAD_BYTES))))
            return entry.facts if entry.kind == journal_frames.HEAD else None
    except (OSError, TraceError, StopIteration):
        return None


def owner_without_manifest(folder: Path) -> Identity:
    """Return the run that most files of a folder name, for one whose manifest is unreadable."""
    named = sorted(named_runs(folder).items(), key=lambda item: (-item[1], item[0]))
    return Identity(named[0][0]) if named else Identity()


def rightful_owner(folder: Path, own: Identity) -> Identity | None:
    """Return the run that all files name alike, where that is not the manifest's and at least two agree.

    The manifest is then the file that does not belong.
    """
    named = named_runs(folder)
    if not own.run or len(named) != 1 or own.run in named:
        return None
    ((run, count),) = named.items()
    return Identity(run) if count > 1 else None


def strangers(
    folder: Path, path_names: tuple[str, ...], own: Identity, *, is_running: bool
) -> dict[str, str]:
    """Return sentences about streams and journals of traces that no manifest lists, by file name.

    A writer creates the files of a path before it lists them: a living one may have come further than the
    manifest that was read, a killed one leaves them empty.
    """
    found: dict[str, str] = {}
    for path in (*folder.glob("*.arrows"), *folder.glob("*.journal")):
        if path.stem in path_names or path.name == "vocabulary.arrows":
            continue
        facts = head_facts(path)
        if facts is None:
            continue
        is_own = is_running and not own.of_path(path.stem).foreign(facts)
        if is_own and (is_being_written(folder) or _is_new(path)):
            continue
        found[path.name] = f"is not listed in the manifest; it {_says(facts, own)}"
    return dict(sorted(found.items()))


def _is_new(path: Path) -> bool:
    """Whether a stream has no batch yet, or a journal no step."""
    with open_regular(path) as file:
        if path.suffix == ".arrows":
            frame, _ = Scanner(file).scan(0)
            return frame is not None and not read_at(file, frame.stop, 1)
        data = memoryview(file.read(_HEAD_BYTES))
    return next(journal_frames.scan(data))[1] == len(data)


def _says(facts: Mapping[str, Any], own: Identity) -> str:
    of_run = "names no run" if not facts.get("run") else "names this run"
    if own.run and facts.get("run") not in {None, "", own.run}:
        of_run = "names another run"
    path = facts.get("path")
    return f"{of_run} and path {str(path)[:64]!r}" if path else of_run
