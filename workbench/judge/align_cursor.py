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
        return self._batch[name].slice(self._row, rows) if name in names else None

    def stored(self, name: str, rows: int) -> Any:
        """Return a column of the whole batch as it is stored; None where there is none.

        It is where the next rows are the whole batch and the batch has a `stored(name)`, as sealed ones have.
        """
        return self._batch.stored(name) if self._is_whole(rows) else None

    def stored_together(self, names: Sequence[str], rows: int) -> Any:
        """Return columns of the whole batch as they are stored, in one; None as `stored`."""
        return self._batch.stored_together(names) if self._is_whole(rows) else None

    def _is_whole(self, rows: int) -> bool:
        return self._row == 0 and rows == len(self._keys) and hasattr(self._batch, "stored")

    def advance(self, rows: int) -> None:
        """Step over rows of the current batch."""
        self._row += rows
        if self._row >= len(self._keys):
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

    def _keys_of(self, batch: Any) -> IntArray:
        """Return prompt, turn and step of each row of a batch, `[rows, 3]`."""
        stored = [batch.stored(name) for name in KEY_COLUMNS] if hasattr(batch, "stored") else [None]
        self._stored_keys = None if None in stored else stored
        other = self._ahead
        if other is not None and self._stored_keys is not None and other._stored_keys == stored:  # noqa: SLF001
            return other._keys  # noqa: SLF001 of the same class
        return np.stack([batch[name].to_numpy().astype(np.int64) for name in KEY_COLUMNS], axis=1)

    def _load(self) -> None:
        self._row = 0
        for batch in self._batches:
            keys = self._keys_of(batch)
            if len(keys):
                self._batch = batch
                self._keys = keys
                return
        self._batch, self._stored_keys = None, None
        self._keys = np.zeros((0, len(KEY_COLUMNS)), dtype=np.int64)


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
