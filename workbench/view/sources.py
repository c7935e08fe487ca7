"""The sides of a run: one recorded path each, under a label, and any of its steps as a `Side`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from tracing.ipc_message import CorruptFrameError
from tracing.path_reader import InProgressStep, PathReader
from tracing.reader import Run
from tracing.stream_reader import DisprovedError
from workbench.view.key_index import KeyIndex
from workbench.view.safe_text import safe_text
from workbench.view.step import Side
from workbench.view.timeline import Key

PREFERRED: Final = ("fused", "reference")
"""Paths that are shown first where a run has them."""


class Source:
    """One path of one run.

    Args:
        label: What the side is called.
        path: The path.

    Attributes:
        label, path: The same.
        index: Rows of its steps.
    """

    def __init__(self, label: str, path: PathReader) -> None:
        self.label = safe_text(label)
        self.path = path
        self.index = KeyIndex(path)

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


def key_of(row: Mapping[str, Any]) -> Key:
    """Return prompt, turn and step of a row."""
    return row["prompt_id"], row["turn"], row["step"]


def running_key(step: InProgressStep) -> Key:
    """Return prompt, turn and step of an unfinished step."""
    return step.moment.prompt_id, step.moment.turn, step.moment.step


def find_sources(run: Run, other: Run | None, known: Iterable[Source], preferred: str = "") -> list[Source]:
    """Choose the sides: one path of each of two runs, or one run's own paths, the fused one first.

    Args:
        run: The run.
        other: The run to compare it with.
        known: Sources of an earlier look, to keep what they have read.
        preferred: The path to show first, of both runs, where they have it.
    """
    if other is not None:
        pairs = [
            (_label(each, name, preferred), each.path(name))
            for each in (run, other)
            for name in _ordered(each, preferred)[:1]
        ]
    else:
        pairs = [(name, run.path(name)) for name in _ordered(run, preferred)]
    if len(pairs) > 1 and pairs[0][0] == pairs[1][0]:
        pairs = [(f"{label} {letter}", path) for letter, (label, path) in zip("AB", pairs, strict=False)]
    by_path = {(source.label, id(source.path)): source for source in known}
    return [by_path.get((safe_text(label), id(path))) or Source(label, path) for label, path in pairs]


def _label(run: Run, name: str, preferred: str) -> str:
    """Return a run's name, and which path of it is shown where that is not the usual one."""
    return f"{run.folder.name} {name}" if preferred else run.folder.name


def _ordered(run: Run, preferred: str) -> list[str]:
    names = run.path_names
    wanted = dict.fromkeys((preferred, *PREFERRED, *names))
    return [name for name in wanted if name in names]
