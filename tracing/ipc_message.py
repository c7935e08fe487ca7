"""One encapsulated Arrow IPC message, read just far enough to bound its lengths before Arrow sees it.

The layout follows the Arrow columnar format, "Encapsulated message format", and its flatbuffers schema
`Message.fbs`: a table `Message` (fields: version, header_type, header, bodyLength, custom_metadata) and a
table `RecordBatch` (fields: length, nodes, buffers, compression). Every offset comes from the file, so
every one is checked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tracing.errors import TraceError

SCHEMA: Final = 1
DICTIONARY: Final = 2
BATCH: Final = 3
MAX_BATCH_STEPS: Final = 64
"""Most rows of a batch that is written or read."""
MAX_FRAME_BYTES: Final = 1 << 28
"""Largest frame that is written or read, packed or unpacked: 256 MiB for at most 64 steps."""

CONTINUATION: Final = 0xFFFFFFFF
_FORMS: Final = {layout: struct.Struct(layout) for layout in ("<H", "<I", "<i", "<q")}
_LENGTH: Final = _FORMS["<q"]
_SLOTS: Final = [struct.Struct(f"<{count}H") for count in range(5)]
"""The first so many slots of a table's list of fields; of no table more are looked at."""


class TornFrameError(TraceError):
    """The bytes end inside a frame."""


class CorruptFrameError(TraceError):
    """The bytes are there and are not what was written.

    Attributes:
        resume_at: Where the next frame begins, if that is still known.
    """

    resume_at: int | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """Where one message lies.

    Attributes:
        kind: `SCHEMA`, `DICTIONARY` or `BATCH`, or a number that this format does not use.
        start: First byte of the prefix.
        head_at: First byte of the flatbuffers metadata.
        body_at: First byte of the body, end of the metadata.
        stop: End of the body.
        header: Position of the header table, relative to `head_at`.
    """

    kind: int
    start: int
    head_at: int
    body_at: int
    stop: int
    header: int


def read_message(data: memoryview, start: int, num_bytes: int | None = None) -> Message | None:
    """Locate the message at `start`; None at the end-of-stream mark.

    Args:
        data: The bytes, or their beginning: a body, and the end of the metadata, may lie behind it.
        start: Where in `data`.
        num_bytes: How many bytes there are, None when `data` is all of them.

    Raises:
        TornFrameError: The bytes end inside it.
        CorruptFrameError: It is no message, or a length is out of bounds.
    """
    if len(data) - start < 8:
        raise TornFrameError(f"ends inside the prefix of a message at byte {start}")
    continuation, head_bytes = struct.unpack_from("<II", data, start)
    if continuation != CONTINUATION or head_bytes % 8:
        raise CorruptFrameError(f"no message starts at byte {start}")
    if head_bytes == 0:
        return None
    head_at, body_at = start + 8, start + 8 + head_bytes
    end = len(data) if num_bytes is None else num_bytes
    if body_at > end:
        raise TornFrameError(f"ends inside the metadata of the message at byte {start}")
    head = data[head_at:body_at]
    table = _number("<I", head, 0)
    kind_at, header_at, length_at = _fields(head, table, 1, 2, 3)
    body_bytes = _number("<q", head, length_at) if length_at else 0
    if not 0 <= body_bytes <= MAX_FRAME_BYTES:
        raise CorruptFrameError(f"message at byte {start} claims a body of {body_bytes} bytes")
    if body_at + body_bytes > end:
        raise TornFrameError(f"ends inside the body of the message at byte {start}")
    header = _follow(head, header_at)
    return Message(head[kind_at] if kind_at else 0, start, head_at, body_at, body_at + body_bytes, header)


def messages(data: memoryview, start: int = 0) -> Iterator[Message]:
    """Yield the messages one after another, to the end of the bytes or the end-of-stream mark."""
    while start < len(data) and (message := read_message(data, start)) is not None:
        yield message
        start = message.stop


def num_rows(data: memoryview, message: Message) -> int:
    """Return how many rows a batch message claims to have.

    Raises:
        CorruptFrameError: An offset leads outside the message.
    """
    head = data[message.head_at : message.body_at]
    at = _field(head, message.header, 0)
    return _number("<q", head, at) if at else 0


def null_counts(data: bytes, message: Message) -> NDArray[np.int64]:
    """Return how many nulls each node of a batch message claims to have, `[nodes]`.

    Raises:
        CorruptFrameError: An offset leads outside the message.
    """
    head = memoryview(data)[message.head_at : message.body_at]
    counts: NDArray[np.int64] = np.frombuffer(vector_of(head, message.header, NODES), "<i8")[1::2]
    return counts


def unpacked_bytes(data: memoryview, message: Message) -> int:
    """Return how many bytes the buffers of a batch or dictionary message unpack to.

    A packed buffer begins with its unpacked length, or -1 where it is stored as it is.

    Raises:
        CorruptFrameError: An offset leads outside the message.
    """
    head, body = data[message.head_at : message.body_at], data[message.body_at : message.stop]
    batch = message.header
    if message.kind == DICTIONARY:
        batch = _follow(head, _field(head, batch, 1))
    packed = bool(_field(head, batch, 3))
    offsets, lengths = np.frombuffer(vector_of(head, batch, BUFFERS), "<i8").reshape(-1, 2).T
    if packed:
        filled = lengths != 0
        starts = offsets[filled]
        if ((starts < 0) | (starts > len(body) - _LENGTH.size)).any():
            raise CorruptFrameError("an offset leads outside its message")
        places = starts[:, None] + np.arange(_LENGTH.size)
        claimed = np.frombuffer(body, np.uint8)[places].view("<i8").ravel()
        lengths = lengths.copy()
        lengths[filled] = np.maximum(lengths[filled], claimed)
    # One that claims more than a frame may hold is too much by itself, and no sum of the others overflows.
    return int(np.clip(lengths, 0, MAX_FRAME_BYTES + 1).sum())


@dataclass(frozen=True, slots=True)
class BatchHead:
    """What the metadata of a batch message say of its body.

    Attributes:
        version: Of Arrow's metadata.
        num_rows: Rows.
        nodes, buffers: The vectors, 16 bytes an entry.
        compression: Codec and method, None where buffers are stored as they are.
    """

    version: int
    num_rows: int
    nodes: bytes
    buffers: bytes
    compression: tuple[int, int] | None


def batch_head(data: memoryview, message: Message) -> BatchHead:
    """Return what the metadata of a batch message say.

    Raises:
        CorruptFrameError: An offset leads outside the message.
    """
    head = data[message.head_at : message.body_at]
    version_at = _field(head, _number("<I", head, 0), 0)
    packed = _follow(head, _field(head, message.header, 3))
    codec, method = (_field(head, packed, number) if packed else 0 for number in (0, 1))
    return BatchHead(
        version=_number("<H", head, version_at) if version_at else 0,
        num_rows=num_rows(data, message),
        nodes=bytes(vector_of(head, message.header, NODES)),
        buffers=bytes(vector_of(head, message.header, BUFFERS)),
        compression=(head[codec] if codec else 0, head[method] if method else 0) if packed else None,
    )


NODES, BUFFERS = 1, 2
"""Fields of a `RecordBatch` table that are vectors of two int64: (length, null count), (offset, length)."""


def vector_of(head: memoryview, batch: int, field: int) -> memoryview:
    """Return the bytes of a vector of two int64."""
    vector = _follow(head, _field(head, batch, field))
    count = _number("<I", head, vector) if vector else 0
    if vector + 4 + count * 16 > len(head):
        raise CorruptFrameError(f"batch claims {count} {'buffers' if field == BUFFERS else 'columns'}")
    return head[vector + 4 : vector + 4 + 16 * count]


def _number(layout: str, data: memoryview, at: int) -> int:
    try:
        number: int = _FORMS[layout].unpack_from(data, at if at >= 0 else len(data))[0]
    except struct.error:
        raise CorruptFrameError("an offset leads outside its message") from None
    return number


def _follow(head: memoryview, at: int) -> int:
    """Follow an offset field, or return 0 for an absent one."""
    return at + _number("<I", head, at) if at else 0


def _field(head: memoryview, table: int, number: int) -> int:
    """Return the position of a table's field, or 0 where it is absent."""
    return _fields(head, table, number)[0]


def _fields(head: memoryview, table: int, *numbers: int) -> list[int]:
    """Return the positions of fields of a table, 0 where one is absent."""
    vtable = table - _number("<i", head, table)
    num_slots = min(max(numbers) + 1, (_number("<H", head, vtable) - 3) // 2)
    try:
        offsets = _SLOTS[max(num_slots, 0)].unpack_from(head, vtable + 4)
    except struct.error:
        raise CorruptFrameError("an offset leads outside its message") from None
    places = []
    for number in numbers:
        offset = offsets[number] if number < num_slots else 0
        if offset and table + offset >= len(head):
            raise CorruptFrameError("a field lies outside its message")
        places.append(table + offset if offset else 0)
    return places
