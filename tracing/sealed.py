"""A sealed batch that is compared as it is stored, and unpacked only where that leaves a question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa

from tracing import ipc_message
from tracing.columns import COLUMN_BY_NAME, KEY_COLUMNS
from tracing.ipc_message import CorruptFrameError
from tracing.schema import arrow_type
from tracing.shares import Shares
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
            num_rows = self._stream.batches[self._number].facts["num_rows"]
            self._unpacked[name] = pa.nulls(num_rows, arrow_type(COLUMN_BY_NAME[name]))
        return self._unpacked[name]

    def stored(self, name: str) -> tuple[bytes, ...] | None:
        """Return the parts of a column as it lies in the file.

        None where the file lacks it, or stores the parts of its columns in an order that writers do not use.

        Columns of two batches that are stored alike hold the same; those that are not may still do so.

        Raises:
            CorruptFrameError: An offset leads outside the batch.
        """
        parts = self._parts
        if parts is None or name not in self._shares:
            return None
        nodes, buffers = self._shares[name]
        num_nodes, num_buffers = parts.size
        if nodes.stop > num_nodes or buffers.stop > num_buffers:
            raise CorruptFrameError(f"batch {self._number} lacks buffers of {name}")
        words = self._dictionaries if COLUMN_BY_NAME[name].kind == "dictionary" else b""
        return words, *parts.of(nodes, buffers)

    def stored_together(self, names: Sequence[str]) -> tuple[Any, ...] | None:
        """Return several columns as they lie in the file, neighbours in one piece; None as `stored`.

        Two batches for which this is the same hold the same in all these columns. One that the file lacks is
        null throughout and adds nothing but its absence.

        Raises:
            CorruptFrameError: An offset leads outside the batch.
        """
        present = tuple(name for name in names if name in (self._stream.columns or {}))
        if self._parts is None or not all(name in self._shares for name in present):
            return None
        pieces = _neighbours([self._shares[name] for name in present])
        num_nodes, num_buffers = self._parts.size
        if any(nodes.stop > num_nodes or buffers.stop > num_buffers for nodes, buffers in pieces):
            raise CorruptFrameError(f"batch {self._number} lacks buffers of its columns")
        speaks = any(COLUMN_BY_NAME[name].kind == "dictionary" for name in present)
        words = self._dictionaries if speaks else b""
        return present, words, *(self._parts.of(nodes, buffers) for nodes, buffers in pieces)

    @cached_property
    def _data(self) -> bytes:
        return self._stream.stored(self._number)

    @cached_property
    def _messages(self) -> list[ipc_message.Message]:
        return list(ipc_message.messages(memoryview(self._data)))

    @cached_property
    def _parts(self) -> ipc_message.StoredParts | None:
        return ipc_message.stored_parts(self._data, self._messages[-1])

    @property
    def _dictionaries(self) -> bytes:
        """The messages before the batch message: the words that its codes mean."""
        return self._data[: self._messages[-1].start]

    def _unpack(self, names: Sequence[str]) -> None:
        batch = self._stream.unpack(self._number, self._data, names)
        self._unpacked |= dict(zip(batch.schema.names, batch.columns, strict=True))


def _neighbours(shares: Sequence[tuple[range, range]]) -> list[tuple[range, range]]:
    """Return shares in the order of the file, those that lie one behind the other as one."""
    found: list[tuple[range, range]] = []
    for nodes, buffers in sorted(shares, key=lambda share: share[0].start):
        before = found[-1] if found else (range(-1), range(-1))
        if (before[0].stop, before[1].stop) == (nodes.start, buffers.start):
            found[-1] = range(before[0].start, nodes.stop), range(before[1].start, buffers.stop)
        else:
            found.append((nodes, buffers))
    return found
