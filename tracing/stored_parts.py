"""Columns of a batch message as they are stored, to be compared without being unpacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracing.ipc_message import BUFFERS, NODES, CorruptFrameError, Message, vector_of


@dataclass(frozen=True, slots=True)
class Places:
    """Nodes and buffers of some columns in a batch message.

    Attributes:
        nodes: Numbers of the nodes.
        layout: Places of lengths and gaps of the buffers, but of the gaps behind the last one of each piece.
        firsts, lasts: Of each piece of neighbours its first and its last buffer.
    """

    nodes: NDArray[np.int64]
    layout: NDArray[np.int64]
    firsts: NDArray[np.int64]
    lasts: NDArray[np.int64]

    @classmethod
    def of(cls, pieces: Sequence[tuple[range, range]]) -> Places:
        """Return the places of pieces of neighbouring nodes and buffers; a piece has at least one of each."""
        joined = [np.arange(nodes.start, nodes.stop) for nodes, _ in pieces]
        layout = [np.arange(2 * buffers.start, 2 * buffers.stop - 1) for _, buffers in pieces]
        none = np.zeros(0, np.int64)
        return cls(
            np.concatenate([none, *joined]),
            np.concatenate([none, *layout]),
            np.array([buffers.start for _, buffers in pieces], np.int64),
            np.array([buffers.stop - 1 for _, buffers in pieces], np.int64),
        )


@dataclass(frozen=True, slots=True)
class StoredParts:
    """A batch's columns as they are stored, buffer behind buffer.

    Attributes:
        nodes: Length and null count of each node, `[nodes, 2]`.
        layout: Length of each buffer and the gap behind it, `[2 * buffers]`.
        starts, stops: Where each buffer lies in the body, `[buffers]`.
        body: The body.
    """

    nodes: NDArray[np.int64]
    layout: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    body: bytes

    def of(self, places: Places) -> tuple[bytes, ...]:
        """Return what is stored of some columns.

        Raises:
            CorruptFrameError: The batch has not so many nodes or buffers.
        """
        try:
            nodes, layout = self.nodes[places.nodes], self.layout[places.layout]
            pieces = zip(self.starts[places.firsts].tolist(), self.stops[places.lasts].tolist(), strict=True)
        except IndexError:
            raise CorruptFrameError("a batch lacks buffers of its columns") from None
        return nodes.tobytes(), layout.tobytes(), *(self.body[start:stop] for start, stop in pieces)


def stored_parts(data: bytes, message: Message) -> StoredParts | None:
    """Return a batch's columns as they are stored; None where buffers are not one behind the other.

    Raises:
        CorruptFrameError: An offset leads outside the message.
    """
    head = memoryview(data)[message.head_at : message.body_at]
    offsets, lengths = np.frombuffer(vector_of(head, message.header, BUFFERS), "<i8").reshape(-1, 2).T
    body = data[message.body_at : message.stop]
    if not len(offsets):
        return None
    stops = offsets + lengths
    gaps = np.append(offsets[1:], len(body)) - stops
    # Two lengths of which each is small do not overflow when they are added.
    small = max(int(offsets.max()), int(lengths.max())) <= len(body)
    if not small or min(int(offsets.min()), int(lengths.min())) < 0 or int(stops.max()) > len(body):
        raise CorruptFrameError("a buffer lies outside its message")
    if int(gaps.min()) < 0:
        return None
    nodes = np.frombuffer(vector_of(head, message.header, NODES), "<i8").reshape(-1, 2)
    return StoredParts(nodes, np.stack([lengths, gaps], axis=1).reshape(-1), offsets, stops, body)
