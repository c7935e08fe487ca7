"""The sides that a run view shows: one recorded path each, and any of its steps as a `Side`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, TypeVar

from tracing.errors import UsageError
from tracing.ipc_message import CorruptFrameError
from tracing.path_reader import InProgressStep, PathReader
from tracing.reader import Run
from tracing.stream_reader import DisprovedError
from workbench.judge.cache_history import COLUMNS, CacheHistory, cache_history
from workbench.view.key_index import KeyIndex
from workbench.view.launch_index import LaunchIndex
from workbench.view.launch_shown import LaunchShown
from workbench.view.safe_text import safe_text
from workbench.view.step import Side
from workbench.view.timeline import Key

Batch = TypeVar("Batch")
MAX_STEPS: Final = 4096
"""Steps of a turn that are followed to see who wrote what."""
PREFERRED: Final = ("fused", "reference")
"""Paths that are shown first where a run has them."""


class Source:
    """One path of one run, its label made safe to show, with the rows of its steps."""

    def __init__(self, label: str, path: PathReader) -> None:
        self.label = safe_text(label)
        self.path = path
        self.index = KeyIndex(path)
        self._launches = LaunchIndex(path.stream.path.parent, path.name)

    @property
    def running(self) -> list[InProgressStep]:
        """Steps that had begun and not finished."""
        return self.path.in_progress

    def at_row(self, row: int) -> Side:
        """Return a row: a finished step, or one of those that were running."""
        if row >= self.path.num_steps:
            return self._running_side(self.running[row - self.path.num_steps])
        return self._finished_side(row)

    def at_key(self, key: Key, hint: int) -> Side:
        """Return a step by its key; its row is mostly `hint`."""
        try:
            row = hint if self.has_key(hint, key) else self.index.row_of(key)
            if row is not None:
                return self._finished_side(row)
        except DisprovedError:  # rows are numbered anew: whoever asked must ask again
            raise
        except CorruptFrameError as problem:
            return Side(self.label, {}, f"cannot be read here: {problem}", self._lacks())
        running = next((step for step in self.running if running_key(step) == key), None)
        if running is not None:
            return self._running_side(running)
        return Side(self.label, {}, f"has no step {key[0]}:{key[1]}:{key[2]}", self._lacks())

    def has_key(self, row: int, key: Key) -> bool:
        """Say whether a finished step has a key."""
        return 0 <= row < self.path.num_steps and key_of(self.path.step(row)) == key

    def history(self, row: int, key: Key, lock: AbstractContextManager[Any]) -> CacheHistory:
        """Return who wrote the rows of the committed cache, from the turn's steps up to a row.

        Args:
            row: Of a step.
            key: Of that step.
            lock: Held while the files are read.
        """
        with lock:
            first = max(0, row - min(key[2], MAX_STEPS))
            while first < row and not self.has_key(first, (key[0], key[1], key[2] - row + first)):
                first += 1  # steps are missing
            table = self.path.columns(COLUMNS, first, min(row + 1, self.path.num_steps))
        return cache_history(table.to_pylist())

    def launch(self, key: Key, manifest: Mapping[str, Any]) -> LaunchShown | None:
        """Return the engine's launch of a step, None where none is recorded; needs no lock."""
        return self._launches.shown(key, manifest)

    def _finished_side(self, row: int) -> Side:
        return Side(self.label, self.path.step(row), lacks=self._lacks())

    def _running_side(self, step: InProgressStep) -> Side:
        """Return what the step's stages recorded, and the inputs of the one that was running."""
        prompt_id, turn, number = running_key(step)
        keys = {"prompt_id": prompt_id, "turn": turn, "step": number}
        row = {**step.inputs, **step.columns, **keys}
        running = step.moment.stage or "the first stage"
        return Side(self.label, row, lacks=self._lacks(), running=running)

    def _lacks(self) -> frozenset[str]:
        lacks = self.path.entry.get("lacks")
        return frozenset(str(name) for name in lacks) if isinstance(lacks, list) else frozenset()


def each_locked(lock: AbstractContextManager[Any], batches: Iterator[Batch]) -> Iterator[Batch]:
    """Read batch by batch; other threads may read, and prove, in between."""
    while True:
        with lock:
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def key_of(row: Mapping[str, Any]) -> Key:
    """Return prompt, turn and step of a row."""
    return row["prompt_id"], row["turn"], row["step"]


def running_key(step: InProgressStep) -> Key:
    """Return prompt, turn and step of an unfinished step."""
    return step.moment.prompt_id, step.moment.turn, step.moment.step


class Sides:
    """One or more recorded paths, the first of which has the time line."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = tuple(runs)
        self._known: list[Source] = []
        self._preferred = ""
        self.shown: list[Source] = []
        self.refresh()

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the sides."""
        return tuple(source.label for source in self.shown)

    @property
    def path_names(self) -> tuple[str, ...]:
        """Names of the recorded paths, of both runs where there are two."""
        return tuple(dict.fromkeys(name for run in self._runs for name in run.path_names))

    @property
    def next_path(self) -> str:
        """Name of the path after the one that is shown first; empty where there is none."""
        names = self.path_names
        if not self.shown or len(names) < 2:
            return ""
        return names[(names.index(self.shown[0].path.name) + 1) % len(names)]

    def put_first(self, name: str) -> None:
        """Show a path first, of both runs where there are two.

        Raises:
            UsageError: No such path is recorded.
        """
        if name not in self.path_names:
            where, known = self._runs[0].folder.name, ", ".join(self.path_names)
            raise UsageError(f"no path {name!r} in {where}; it has {known}")
        self._preferred = name
        self.refresh()

    def refresh(self) -> None:
        """Choose the sides: one path of each of two runs, or one run's own paths, the fused one first."""
        runs = self._runs
        pairs = [(name, runs[0].path(name)) for name in self._ordered(runs[0])]
        if len(runs) > 1:
            pairs = [
                (self._label(run, name), run.path(name)) for run in runs for name in self._ordered(run)[:1]
            ]
        if len(pairs) > 1 and pairs[0][0] == pairs[1][0]:
            pairs = [(f"{label} {letter}", path) for letter, (label, path) in zip("AB", pairs, strict=False)]
        by_path = {(source.label, id(source.path)): source for source in self._known}
        self.shown = [
            by_path.get((safe_text(label), id(path))) or Source(label, path) for label, path in pairs
        ]
        self._known = list({id(each): each for each in (*self._known, *self.shown)}.values())

    def _label(self, run: Run, name: str) -> str:
        """Return a run's name, and which path of it is shown where that is not the usual one."""
        return f"{run.folder.name} {name}" if self._preferred else run.folder.name

    def _ordered(self, run: Run) -> list[str]:
        wanted = dict.fromkeys((self._preferred, *PREFERRED, *run.path_names))
        return [name for name in wanted if name in run.path_names]
