"""Row of a step in a path: keys of all rows, read once and extended as the trace grows."""

from __future__ import annotations

import bisect
from typing import Final

import numpy as np

from tracing.columns import KEY_COLUMNS
from tracing.path_reader import PathReader
from workbench.view.timeline import Key

CHUNK: Final = 1024
"""Rows that are read at a time, some 16 batches: a move waits for no more."""
UNITS: Final = {"step": 3, "turn": 2, "prompt": 1}
"""How many parts of a key must change for a move by that unit."""


class KeyIndex:
    """Rows of a path by prompt, turn and step; rows need not be in order (engines serve several requests)."""

    def __init__(self, path: PathReader) -> None:
        self._path = path
        self._keys = np.zeros((0, 3), np.int32)
        self._order = np.zeros(0, np.int64)

    def row_of(self, key: Key) -> int | None:
        """Return the first row with a key, None where there is none."""
        place = self._first_not_before(key)
        if place == len(self._order):
            return None
        row = int(self._order[place])
        return row if self._key(row) == key else None

    def moved(self, row: int, unit: str, direction: int) -> int:
        """Return the row of the next or previous step, turn or prompt; the same row where there is none.

        Going back by a turn or prompt ends at its first step, as going forward does.

        Args:
            row: Where from.
            unit: One of `UNITS`.
            direction: 1 or -1.
        """
        self._grow()
        if unit == "step" or not 0 <= row < len(self._keys):
            return min(max(row + direction, 0), max(0, len(self._keys) - 1))
        parts = UNITS[unit]
        here = self._key(row)[:parts]
        after = (*here[:-1], here[-1] + 1)
        if direction > 0:
            place = self._first_not_before(after)
            return int(self._order[place]) if place < len(self._order) else row
        first = self._first_not_before(here)
        if first == 0:
            return row
        before = self._key(int(self._order[first - 1]))[:parts]
        return int(self._order[self._first_not_before(before)])

    def _first_not_before(self, key: tuple[int, ...]) -> int:
        self._grow()
        return bisect.bisect_left(
            range(len(self._order)), key, key=lambda place: self._key(int(self._order[place]))
        )

    def _key(self, row: int) -> Key:
        prompt_id, turn, step = self._keys[row].tolist()
        return prompt_id, turn, step

    def read_some(self, num_rows: int = CHUNK) -> bool:
        """Read the keys of some more rows ahead of need; return whether all are read."""
        known = len(self._keys)
        total = self._path.num_steps
        if total < known:  # a damaged run was repaired meanwhile
            self._keys, known = self._keys[:0], 0
        if total > known:
            table = self._path.columns(KEY_COLUMNS, known, known + num_rows)
            fresh = np.stack([table.column(name).to_numpy() for name in KEY_COLUMNS], axis=1)
            self._keys = np.concatenate([self._keys, fresh])
        return len(self._keys) == total

    def _grow(self) -> None:
        """Read the keys of all rows that are new, and put them in order."""
        self.read_some(self._path.num_steps)
        if len(self._order) != len(self._keys):
            self._order = np.lexsort(self._keys.T[::-1])
