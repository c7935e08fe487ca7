"""A place in a stream of column batches: its current rows, their keys, and the rest of a turn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracing.columns import KEY_COLUMNS
from tracing.stages import IntArray
from workbench.judge.align_columns import flat, part


class Cursor:
    """Walks over batches; a batch is anything that gives a column by name (a record batch, a dict).

    Args:
        batches: Where to walk.
        ahead: A cursor that usually walks ahead of this one over the same steps; keys that both store alike
            are unpacked once.
    """

    def __init__(self, batches: Iterable[Any], ahead: Cursor | None = None) -> None:
        self._batches = iter(batches)
        self._ahead = ahead
        self._stored_keys: Any = None
        self._batch: Any = None
        self._keys: IntArray = np.zeros((0, len(KEY_COLUMNS)), dtype=np.int64)
        self._row = 0
        self._load()

    @property
    def done(self) -> bool:
        """No row is left."""
        return self._batch is None

    @property
    def available(self) -> int:
        """Rows left in the current batch."""
        return len(self._keys) - self._row

    def keys(self, rows: int) -> IntArray:
        """Return prompt, turn and step of the next rows, `[rows, 3]`."""
        return self._keys[self._row : self._row + rows]

    @property
    def turn(self) -> tuple[int, int]:
        """Prompt and turn of the next row."""
        prompt_id, turn, _ = self._keys[self._row]
        return int(prompt_id), int(turn)

    def column(self, name: str, rows: int) -> Any:
        """Return the next rows of a column, or None when the batch does not have it."""
        names = self._batch.schema.names if hasattr(self._batch, "schema") else self._batch
        return part(self._batch[name], self._row, self._row + rows) if name in names else None

    def stored(self, name: str, rows: int) -> Any:
        """Return a column of the whole batch as it is stored; None where there is none.

        It is where the next rows are the whole batch and the batch has a `stored(name)`, as sealed ones have.
        """
        whole = self._row == 0 and rows == len(self._keys)
        return self._batch.stored(name) if whole and hasattr(self._batch, "stored") else None

    def advance(self, rows: int) -> None:
        """Step over rows of the current batch."""
        self._row += rows
        if self._row >= len(self._keys):
            self._load()

    def drain_turn(self) -> tuple[IntArray, IntArray]:
        """Step over the rest of the turn; return absolute position and token of all that it emits."""
        positions: list[NDArray[np.int64]] = []
        tokens: list[NDArray[np.int64]] = []
        turn = self.turn
        while not self.done and self.turn == turn:
            same = (self._keys[self._row :, :2] == turn).all(axis=1)
            rows = self.available if same.all() else int(np.argmin(same))
            _emitted(
                self.column("committed_len", rows), self.column("emitted_token_ids", rows), positions, tokens
            )
            self.advance(rows)
        empty = np.zeros(0, dtype=np.int64)
        return np.concatenate([empty, *positions]), np.concatenate([empty, *tokens])

    def _keys_of(self, batch: Any) -> IntArray:
        """Return prompt, turn and step of each row of a batch, `[rows, 3]`."""
        stored = [batch.stored(name) for name in KEY_COLUMNS] if hasattr(batch, "stored") else [None]
        self._stored_keys = None if None in stored else stored
        other = self._ahead
        if other is not None and self._stored_keys is not None and other._stored_keys == stored:  # noqa: SLF001
            return other._keys  # noqa: SLF001 of the same class
        columns = [np.asarray(flat(batch[name]).values, dtype=np.int64) for name in KEY_COLUMNS]
        return np.stack(columns, axis=1)

    def _load(self) -> None:
        """Go to the next batch that has rows."""
        self._row = 0
        for batch in self._batches:
            keys = self._keys_of(batch)
            if len(keys):
                self._batch = batch
                self._keys = keys
                return
        self._batch, self._stored_keys = None, None
        self._keys = np.zeros((0, len(KEY_COLUMNS)), dtype=np.int64)


def _emitted(
    lengths: Any, emitted: Any, positions: list[NDArray[np.int64]], tokens: list[NDArray[np.int64]]
) -> None:
    """Add absolute positions and tokens: the first token of a step comes one after its root, at L + 1."""
    if lengths is None or emitted is None:
        return
    starts, lists = flat(lengths), flat(emitted)
    for row in np.flatnonzero(starts.present & lists.present).tolist():
        row_tokens = np.asarray(lists.row(row), dtype=np.int64)
        positions.append(int(starts.values[row]) + 1 + np.arange(len(row_tokens)))
        tokens.append(row_tokens)
