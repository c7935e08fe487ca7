"""A sealed batch that is compared as it is stored, and unpacked only where that leaves a question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from tracing import ipc_message
from tracing.columns import KEY_COLUMNS
from tracing.schema import null_column
from tracing.shares import Shares
from tracing.stored_parts import StoredParts, stored_parts
from tracing.stream_reader import StreamReader


class SealedBatch:
    """One proven batch; `batch[name]` unpacks, `stored(name)` does not.

    Args:
        stream: The file.
        number: Of the batch.
        names: Columns that it answers for; one that the file lacks is null throughout.
        shares: Of the file's schema.
    """

    def __init__(self, stream: StreamReader, number: int, names: Sequence[str], shares: Shares) -> None:
        self._stream = stream
        self._shares = shares
        self._number = number
        present = stream.columns or {}
        self._names = tuple(names)
        self._rest = [name for name in names if name in present and name not in KEY_COLUMNS]
        self._unpacked: dict[str, Any] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __getitem__(self, name: str) -> Any:
        """Return one column; keys are unpacked apart from the rest, which is unpacked at once.

        Raises:
            KeyError: It was not asked for.
            CorruptFrameError: The batch cannot be unpacked.
        """
        if name not in self._names:
            raise KeyError(name)
        if name not in self._unpacked:
            self._unpack(KEY_COLUMNS if name in KEY_COLUMNS else self._rest)
        if name not in self._unpacked:
            self._unpacked[name] = null_column(name, self.num_rows)
        return self._unpacked[name]

    def stored(self, name: str) -> tuple[bytes, ...] | None:
        """Return the parts of a column as it lies in the file.

        None where the file lacks it, or stores the parts of its columns in an order that writers do not use.

        Columns of two batches that are stored alike hold the same; those that are not may still do so.

        Raises:
            CorruptFrameError: An offset leads outside the batch.
        """
        return self.stored_together([name]) if name in (self._stream.columns or {}) else None

    def stored_together(self, names: Sequence[str]) -> tuple[Any, ...] | None:
        """Return several columns as they lie in the file, neighbours in one piece; None as `stored`.

        Two batches for which this is the same hold the same in all these columns. One that the file lacks is
        null throughout and adds nothing but its absence.

        Raises:
            CorruptFrameError: An offset leads outside the batch, or it lacks buffers of its columns.
        """
        known = self._stream.unpacker.places_of(tuple(names), self._shares)
        if known is None or self._parts is None:
            return None
        words = self._data[: self._message.start] if known.speaks else b""  # what its codes mean
        return known.present, words, *self._parts.of(known.places)

    @property
    def num_rows(self) -> int:
        """Its rows."""
        return int(self._stream.batches[self._number].facts["num_rows"])

    @cached_property
    def _data(self) -> bytes:
        return self._stream.stored(self._number)

    @cached_property
    def _message(self) -> ipc_message.Message:
        return self._stream.unpacker.message_of(self._data)

    @cached_property
    def _parts(self) -> StoredParts | None:
        return stored_parts(self._data, self._message)

    def _unpack(self, names: Sequence[str]) -> None:
        batch = self._stream.unpack(self._number, self._data, names)
        self._unpacked |= dict(zip(batch.schema.names, batch.columns, strict=True))
