"""A sealed batch with other facts: its columns stay packed as they lie in the file, only its metadata is new.

The flatbuffers metadata of a batch message is written here by hand: tables `Message`, `RecordBatch`,
`BodyCompression` and `KeyValue` of Arrow's `Message.fbs`, each at a fixed place, then the text of the facts
and the two vectors of the old message.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from tracing import frames, ipc_message
from tracing.ipc_message import BATCH, CorruptFrameError

_TABLES: Final = struct.Struct(
    "<I"  # place of `Message`
    "7H2x"  # its vtable: size, size of the table, version, header type, header, body length, metadata
    "6H"  # of `RecordBatch`: length, nodes, buffers, compression
    "4H"  # of `BodyCompression`: codec, method
    "4H"  # of `KeyValue`: key, value
    "iIIhBxq"  # Message: vtable, header, metadata, version, header type, body length
    "iIqII"  # RecordBatch: vtable, nodes, length, buffers, compression
    "ibb2x"  # BodyCompression: vtable, codec, method
    "II"  # vector of metadata: one entry
    "iII"  # KeyValue: vtable, key, value
)
_MESSAGE, _BATCH, _COMPRESSION, _METADATA, _ENTRY, _TEXTS = 48, 72, 96, 104, 112, 124
"""Places of the tables, of the vector of metadata, and of the first byte behind them."""
_VTABLES: Final = (4, 20, 32, 40)
"""Places of their vtables."""


def restamped(frame: bytes, facts: dict[str, Any]) -> bytes:
    """Return a proven frame with other facts in its metadata.

    Args:
        frame: A batch and the dictionaries that it needs.
        facts: What `frames.encode_batch` would be given.

    Raises:
        CorruptFrameError: It holds no batch, or an offset leads outside.
    """
    view = memoryview(frame)
    *_, message = ipc_message.messages(view)
    if message.kind != BATCH:
        raise CorruptFrameError("a frame without a batch")
    head = ipc_message.batch_head(view, message)
    text = frames.metadata_of(facts)
    ((key, value),) = text.items()
    nodes_at = _before_vector(_TEXTS + _size_of(key) + _size_of(value))
    buffers_at = _before_vector(nodes_at + 4 + len(head.nodes))
    tables = _TABLES.pack(
        _MESSAGE,
        *(14, 24, 12, 14, 4, 16, 8),
        *(12, 24, 8, 4, 16, 20 if head.compression else 0),
        *(8, 8, 4, 5),
        *(8, 12, 4, 8),
        *(_MESSAGE - _VTABLES[0], _BATCH - _MESSAGE - 4, _METADATA - _MESSAGE - 8),
        *(head.version, BATCH, message.stop - message.body_at),
        *(_BATCH - _VTABLES[1], nodes_at - _BATCH - 4, head.num_rows, buffers_at - _BATCH - 16),
        _COMPRESSION - _BATCH - 20,
        *(_COMPRESSION - _VTABLES[2], *(head.compression or (0, 0))),
        *(1, _ENTRY - _METADATA - 4),
        *(_ENTRY - _VTABLES[3], _TEXTS - _ENTRY - 4, _TEXTS + _size_of(key) - _ENTRY - 8),
    )
    written = bytearray(tables + _text(key) + _text(value))
    for at, vector in ((nodes_at, head.nodes), (buffers_at, head.buffers)):
        written += bytes(at - len(written)) + struct.pack("<I", len(vector) // 16) + vector
    written += bytes(-len(written) % 8)
    prefix = struct.pack("<II", ipc_message.CONTINUATION, len(written))
    fresh = bytearray(view[: message.start]) + prefix + written + view[message.body_at : message.stop]
    frames.stamp(fresh)
    return bytes(fresh)


def _size_of(text: bytes) -> int:
    return len(_text(text))


def _text(text: bytes) -> bytes:
    """Return a string of flatbuffers: its length, its bytes, a zero, and zeros up to four bytes."""
    return struct.pack("<I", len(text)) + text + bytes(4 - len(text) % 4)


def _before_vector(at: int) -> int:
    """Return where the length of a vector stands whose elements begin at a multiple of eight."""
    return at + (4 - at) % 8
