"""Unpacks proven batches of one file: all of their columns, or only those that hold anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tracing import frames, ipc_message
from tracing.columns import COLUMN_BY_NAME
from tracing.ipc_message import CorruptFrameError, Message
from tracing.shares import Shares, neighbours, shares_of
from tracing.stored_parts import Places

NO_NODE: Final = 1 << 40
"""The node of a column whose place in a batch is not known."""
Names = tuple[str, ...] | None
Numbers = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Numbers of columns in the file, and of the first node of each in a batch message."""


@dataclass(frozen=True, slots=True)
class Known:
    """Where some columns lie in each batch of a file.

    Attributes:
        present: Those of them that the file has.
        speaks: One of them has words in dictionaries.
        places: Their nodes and buffers.
    """

    present: tuple[str, ...]
    speaks: bool
    places: Places


class Unpacker:
    """Unpacks the batches of a file.

    Args:
        schema_frame: The first frame of the file.
        columns: Number of each known column in its schema.
    """

    def __init__(self, schema_frame: bytes, columns: Mapping[str, int]) -> None:
        self.schema_frame = schema_frame
        self._columns = columns
        self._dictionaries = frames.Dictionaries()
        self._opening = frames.Opening()
        self._places: dict[Names, Numbers] = {}
        self._known: dict[tuple[str, ...], Known | None] = {}

    @cached_property
    def schema(self) -> pa.Schema:
        """Schema of the file, columns that this version does not know included."""
        return pa.ipc.read_schema(pa.py_buffer(self.schema_frame))

    @cached_property
    def shares(self) -> Shares:
        """Nodes and buffers of each column of the file."""
        return shares_of(self.schema)

    def unpack(self, data: bytes, num_rows: int, names: Names, *, filled: bool) -> pa.RecordBatch:
        """Return columns of a batch, in file order.

        Args:
            data: The frame.
            num_rows: Rows that it should have.
            names: Columns, all known ones when None; those that the file lacks are left out.
            filled: Leave out columns that are null throughout; at least one column is there.

        Raises:
            CorruptFrameError: Arrow does not accept it, or its length is not the recorded one.
        """
        message = frames.bounded(data, num_rows, self._dictionaries)
        wanted, nodes = self._numbers_of(names)
        if filled and len(wanted):
            null = ipc_message.null_counts(data, message)
            known = nodes < len(null)
            is_empty = np.zeros(len(wanted), np.bool_)
            is_empty[known] = null[nodes[known]] == num_rows
            wanted = wanted[:1] if is_empty.all() else wanted[~is_empty]
        return frames.decode_batch(self.schema_frame, data, wanted.tolist())

    def message_of(self, data: bytes) -> Message:
        """Return the batch message of a proven frame.

        Raises:
            CorruptFrameError: It holds none.
        """
        message = frames.closing_message(memoryview(data), 0, len(data), self._opening)
        if message is None:
            raise CorruptFrameError("a frame without a batch")
        return message

    def places_of(self, names: tuple[str, ...], shares: Shares) -> Known | None:
        """Return where columns lie in each batch; None where that is not known.

        Args:
            names: The columns; those that the file lacks are left out.
            shares: Of the file's schema.
        """
        if names not in self._known:
            present = tuple(name for name in names if name in self._columns)
            speaks = any(COLUMN_BY_NAME[name].kind == "dictionary" for name in present)
            known = None
            if all(name in shares for name in present):
                known = Known(present, speaks, Places.of(neighbours([shares[name] for name in present])))
            self._known[names] = known
        return self._known[names]

    def num_nulls(self, data: bytes, num_rows: int, name: str) -> int:
        """Return how many rows of a batch have no value in a column that the file has.

        Raises:
            CorruptFrameError: An offset leads outside the frame.
        """
        message = frames.bounded(data, num_rows, self._dictionaries)
        return int(ipc_message.null_counts(data, message)[self.shares[name][0].start])

    def _numbers_of(self, names: Names) -> Numbers:
        if names not in self._places:
            present = [each for each in (self._columns if names is None else names) if each in self._columns]
            nodes = [self.shares[each][0].start if each in self.shares else NO_NODE for each in present]
            numbers = [self._columns[each] for each in present]
            self._places[names] = np.array(numbers, np.int64), np.array(nodes, np.int64)
        return self._places[names]
