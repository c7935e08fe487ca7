"""A place in a stream of column batches: its current rows, their keys, and the rest of a turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tracing.columns import KEY_COLUMNS
from tracing.stages import IntArray


class Cursor:
    """Walks over batches, record batches or sealed ones.

    Args:
        batches: Where to walk.
        ahead: A cursor that usually walks ahead of this one over the same steps; keys that both store alike
            are unpacked once.
    """

    def __init__(self, batches: Iterable[Any], ahead: Cursor | None = None) -> None:
        self._batches = iter(batches)
        self._ahead = ahead
        self._batch: Any = None
        self._num_rows = 0
        self._known_keys: IntArray | None = None
        self._row = 0
        self._load()

    @property
    def done(self) -> bool:
        """No row is left."""
        return self._batch is None

    @property
    def available(self) -> int:
        """Rows left in the current batch."""
        return self._num_rows - self._row

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
        return self._batch[name].slice(self._row, rows) if name in names else None

    def stored(self, name: str, rows: int) -> Any:
        """Return a column of the whole batch as it is stored; None where there is none.

        It is where the next rows are the whole batch and the batch has a `stored(name)`, as sealed ones have.
        """
        return self._batch.stored(name) if self._is_whole(rows) else None

    def same_batch(self, other: Cursor, names: Sequence[str]) -> int:
        """Return how many rows both have next that are stored alike in some columns; 0 where that is open.

        Args:
            other: The cursor beside this one.
            names: The columns, keys included.
        """
        rows = self.available
        if not rows or rows != other.available:
            return 0
        ours = self.stored_together(names, rows)
        return rows if ours is not None and ours == other.stored_together(names, rows) else 0

    def stored_together(self, names: Sequence[str], rows: int) -> Any:
        """Return columns of the whole batch as they are stored, in one; None as `stored`."""
        return self._batch.stored_together(names) if self._is_whole(rows) else None

    def _is_whole(self, rows: int) -> bool:
        return self._row == 0 and rows == self._num_rows and hasattr(self._batch, "stored")

    def advance(self, rows: int) -> None:
        """Step over rows of the current batch."""
        self._row += rows
        if self._row >= self._num_rows:
            self._load()

    def drain_turn(self) -> dict[int, int]:
        """Step over the rest of the turn; return all that it emits, tokens by absolute position."""
        tokens: dict[int, int] = {}
        turn = self.turn
        while not self.done and self.turn == turn:
            same = (self._keys[self._row :, :2] == turn).all(axis=1)
            rows = self.available if same.all() else int(np.argmin(same))
            names = ("committed_len", "emitted_token_ids", "context_token_ids")
            tokens |= _emitted(*(self.column(name, rows) for name in names))
            self.advance(rows)
        return tokens

    @property
    def _keys(self) -> IntArray:
        """Prompt, turn and step of each row of the batch, `[rows, 3]`; unpacked when they are asked for."""
        if self._known_keys is None:
            stored, other = _stored_keys(self._batch), self._ahead
            if other is not None and stored is not None and stored == _stored_keys(other._batch):  # noqa: SLF001
                self._known_keys = other._keys  # noqa: SLF001 of the same class
            else:
                columns = [self._batch[name].to_numpy().astype(np.int64) for name in KEY_COLUMNS]
                self._known_keys = np.stack(columns, axis=1)
        return self._known_keys

    def _load(self) -> None:
        self._row, self._known_keys = 0, None
        for batch in self._batches:
            if batch.num_rows:
                self._batch, self._num_rows = batch, batch.num_rows
                return
        self._batch, self._num_rows = None, 0
        self._known_keys = np.zeros((0, len(KEY_COLUMNS)), dtype=np.int64)


def _stored_keys(batch: Any) -> Any:
    return batch.stored_together(KEY_COLUMNS) if hasattr(batch, "stored_together") else None


def _emitted(lengths: Any, emitted: Any, contexts: Any) -> dict[int, int]:
    """Return tokens by absolute position: a step's come one after its root, at L + 1; the first root at L."""
    if lengths is None or emitted is None:
        return {}
    if contexts is not None and contexts.null_count < len(contexts):
        begun = {len(each) - 1: each[-1] for each in contexts.to_pylist() if each}
        return begun | _emitted(lengths, emitted, None)
    steps = zip(lengths.to_pylist(), emitted.to_pylist(), strict=True)
    whole = ((length, tokens) for length, tokens in steps if length is not None and tokens is not None)
    return {at: token for length, tokens in whole for at, token in enumerate(tokens, start=length + 1)}
