"""Arrow IPC streams in frames that prove themselves.

A trace file is a plain Arrow stream: schema, batches, an empty batch as end record, end-of-stream mark. A
frame is the schema message, or one record batch with the dictionaries it needs. Each frame has its own
CRC-32 in its metadata (computed with those eight digits as zeros): schema, dictionaries, bodies and padding
are all covered. Each batch names the CRC of the frame before it, so that the last one vouches for the whole
file.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from tracing import ipc_message
from tracing.errors import TraceError
from tracing.ipc_message import MAX_FRAME_BYTES, CorruptFrameError, Message

END_OF_STREAM: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"
METADATA_KEY: Final = b"specwb"

_SEAL: Final = b'"crc32": "'
_ZEROS: Final = b"00000000"
_read_json: Final = json.JSONDecoder().raw_decode


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame in a file.

    Attributes:
        start, stop: Byte range.
        facts: Its metadata: `kind`, counts, `crc32`.
    """

    start: int
    stop: int
    facts: dict[str, Any]


@dataclass(slots=True)
class Opening:
    """The dictionary messages that the frame before began with; most begin with the same.

    Attributes:
        data: Their bytes.
    """

    data: bytes = b""


@dataclass(slots=True)
class Dictionaries:
    """The dictionary messages that a batch began with; most begin with the same.

    Attributes:
        last: Their bytes, and how many bytes they unpack to.
    """

    last: tuple[bytes, int] = (b"", 0)


def encode_schema(schema: pa.Schema, facts: dict[str, Any]) -> bytes:
    """Return the schema message as a stamped frame; `facts` are in the schema's metadata."""
    frame = bytearray(schema.with_metadata(metadata_of(facts)).serialize())
    stamp(frame)
    return bytes(frame)


def encode_batch(batch: pa.RecordBatch, facts: dict[str, Any], codec: str) -> bytes:
    """Return one batch with its dictionaries as a stamped frame.

    Raises:
        TraceError: The frame is larger than the reader will take.
    """
    if batch.nbytes > MAX_FRAME_BYTES:
        raise TraceError(
            f"one batch may hold {MAX_FRAME_BYTES} bytes, got {batch.nbytes}; record smaller steps"
        )
    sink = pa.BufferOutputStream()
    writer = pa.ipc.new_stream(
        sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=codec, use_threads=False)
    )
    writer.write_batch(batch, custom_metadata=metadata_of(facts))
    writer.close()
    frame = bytearray(memoryview(sink.getvalue())[batch.schema.serialize().size : -len(END_OF_STREAM)])
    stamp(frame)
    return bytes(frame)


def crc_of(frame: bytes) -> str:
    """Return the CRC in the metadata of a stamped frame."""
    at = _seal_position(memoryview(frame), _last_message(memoryview(frame)))
    return frame[at : at + 8].decode()


def scan_frame(data: memoryview, start: int, opening: Opening | None = None) -> Frame | None:
    """Read and prove the frame at `start`; None at the end-of-stream mark.

    Args:
        data: The bytes.
        start: Where in `data`.
        opening: Of the frame before; becomes this one's.

    Raises:
        TornFrameError: The bytes end inside it.
        CorruptFrameError: A length or the checksum is wrong.
    """
    message = closing_message(data, start, len(data), opening or Opening())
    return None if message is None else Frame(start, message.stop, _proven_facts(data, start, message))


def scan_head(data: memoryview, num_bytes: int, opening: Opening) -> Frame | None:
    """Read, without proof, the metadata of a frame; None at the end-of-stream mark.

    Args:
        data: The first bytes of the frame; the vectors and the body of its batch may lie behind them.
        num_bytes: How many bytes there are from its start to the end of the file.
        opening: Of the frame before; becomes this one's.

    Raises:
        TornFrameError: The bytes, or those at hand, end inside its heads.
        CorruptFrameError: A length is wrong, or the facts lie behind the bytes at hand.
    """
    message = closing_message(data, 0, num_bytes, opening)
    if message is None:
        return None
    return Frame(0, message.stop, _facts(data, 0, message, _seal_position(data, message)))


def closing_message(data: memoryview, start: int, num_bytes: int, opening: Opening) -> Message | None:
    """Return the last message of the frame at `start`, the one that carries its facts.

    Raises:
        TornFrameError: The bytes end inside it.
        CorruptFrameError: A length is wrong, or it is none of a frame.
    """
    known = len(opening.data)
    position = start + known if data[start : start + known].tobytes() == opening.data else start
    while position - start <= MAX_FRAME_BYTES:
        message = ipc_message.read_message(data, position, num_bytes)
        if message is None:
            if position != start:
                raise CorruptFrameError(f"end-of-stream mark inside the frame at byte {start}")
            return None
        if message.kind in {ipc_message.SCHEMA, ipc_message.BATCH}:
            if position - start != known:
                opening.data = data[start:position].tobytes()
            return message
        if message.kind != ipc_message.DICTIONARY:
            raise CorruptFrameError(f"unknown message kind {message.kind} at byte {position}")
        position = message.stop
    raise CorruptFrameError(f"frame at byte {start} is larger than {MAX_FRAME_BYTES} bytes")


def decode_columns(frame: bytes, expected: pa.Schema) -> dict[str, int]:
    """Return the number of each expected column that a proven schema frame has.

    Columns may be missing (older file) or unknown (newer minor version); unknown ones are never unpacked.

    Raises:
        CorruptFrameError: Arrow does not accept it, or a column is of another type than it must be.
    """
    try:
        fields = [(field.name, field.type) for field in pa.ipc.read_schema(pa.py_buffer(frame))]
    except (pa.ArrowException, OSError, ValueError) as problem:
        raise CorruptFrameError(f"schema cannot be read: {_first_line(problem)}") from None
    numbers: dict[str, int] = {}
    for number, (name, kind) in enumerate(fields):
        if name not in expected.names:
            continue
        if name in numbers or kind != expected.field(name).type:
            raise CorruptFrameError(f"column {name} is {kind}, not {expected.field(name).type}")
        numbers[name] = number
    return numbers


def decode_batch(schema_frame: bytes, frame: bytes, columns: list[int]) -> pa.RecordBatch:
    """Return the batch of a proven frame that is `bounded`, with only the columns of these numbers unpacked.

    Raises:
        CorruptFrameError: Arrow does not accept it.
    """
    options = pa.ipc.IpcReadOptions(included_fields=columns, use_threads=False)
    try:
        source = pa.py_buffer(schema_frame + frame)
        with pa.ipc.open_stream(source, options=options, memory_pool=pa.system_memory_pool()) as reader:
            batch = reader.read_next_batch()
        batch.validate(full=True)
    except (pa.ArrowException, OSError, StopIteration, ValueError) as problem:
        raise CorruptFrameError(f"batch cannot be unpacked: {_first_line(problem)}") from None
    return batch


def bounded(frame: bytes, num_rows: int, known: Dictionaries) -> Message:
    """Return the batch message of a frame, which unpacks to no more than a frame may hold.

    Args:
        frame: The batch and its dictionaries.
        num_rows: Rows that it should have.
        known: What the batch before it began with; replaced by what this one begins with.

    Raises:
        CorruptFrameError: It has another number of rows, unpacks to more, or holds no batch.
    """
    view, start, total = memoryview(frame), 0, 0
    last, unpacked = known.last
    if frame.startswith(last):
        start, total = len(last), unpacked
    found = None
    for message in ipc_message.messages(view, start):
        if message.kind == ipc_message.BATCH:
            if ipc_message.num_rows(view, message) != num_rows:
                raise CorruptFrameError("batch does not have the number of rows in its metadata")
            if message.start > start or start == 0:
                known.last = frame[: message.start], total
            found = found or message
        if message.kind != ipc_message.SCHEMA:
            total += ipc_message.unpacked_bytes(view, message)
        if total > MAX_FRAME_BYTES:
            raise CorruptFrameError(
                f"batch claims to unpack to {total} bytes, at most {MAX_FRAME_BYTES} are read"
            )
    if found is None:
        raise CorruptFrameError("a frame without a batch")
    return found


def metadata_of(facts: dict[str, Any]) -> dict[bytes, bytes]:
    """Return Arrow metadata that carries `facts` (flat) and a place for the CRC, which comes last."""
    return {METADATA_KEY: json.dumps({**facts, "crc32": _ZEROS.decode()}).encode()}


def stamp(frame: bytearray) -> None:
    """Write a frame's own CRC-32 into its metadata, in place of the zeros."""
    view = memoryview(frame)
    at = _seal_position(view, _last_message(view))
    view[at : at + 8] = f"{zlib.crc32(view):08x}".encode()


def _last_message(frame: memoryview) -> Message:
    found = list(ipc_message.messages(frame))
    if not found:
        raise CorruptFrameError("a frame without a message")
    return found[-1]


def _seal_position(data: memoryview, message: Message) -> int:
    """Return the place of the eight digits of the CRC in a message's metadata."""
    at = bytes(data[message.head_at : message.body_at]).find(_SEAL)
    if at < 0:
        raise CorruptFrameError(f"message at byte {message.start} has no checksum")
    return message.head_at + at + len(_SEAL)


def _proven_facts(data: memoryview, start: int, message: Message) -> dict[str, Any]:
    """Return the metadata of a frame, after checking its CRC; `message` is its last one."""
    at = _seal_position(data, message)
    crc = zlib.crc32(data[at + 8 : message.stop], zlib.crc32(_ZEROS, zlib.crc32(data[start:at])))
    if bytes(data[at : at + 8]) != f"{crc:08x}".encode():
        problem = CorruptFrameError(f"checksum of the frame at byte {start} does not match")
        problem.resume_at = message.stop
        raise problem
    return _facts(data, start, message, at)


def _facts(data: memoryview, start: int, message: Message, at: int) -> dict[str, Any]:
    """Return a message's metadata up to its CRC, which is at `at`, and the CRC."""
    head = bytes(data[message.head_at : at + 8])
    try:
        text = f'{head[head.rfind(b"{") :].decode()}"}}'
        facts, end = _read_json(text)
    except ValueError:
        facts, text, end = None, "", 0
    if not isinstance(facts, dict) or end != len(text):
        raise CorruptFrameError(f"frame at byte {start} has no readable metadata")
    return facts


def _first_line(problem: BaseException) -> str:
    return (str(problem).splitlines() or [type(problem).__name__])[0]
