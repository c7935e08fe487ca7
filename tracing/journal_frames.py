"""The journal's bytes: small framed records, each with the checksum of its header and of its payload.

A record is a 20-byte header (magic, kind, payload length, payload CRC, header CRC; little-endian) and a
payload: the length of a JSON part, the JSON part (scalars, sizes of arrays), then the arrays' bytes in order.
The header's own CRC tells a record that was cut (`torn`) from one that was changed (`corrupt`). The CRC of a
payload continues that of the record before it, and the first record names run and path: a record of another
journal, one twice, one left out are noticed. Journals of format 1.0 (`SWJ1`) have no such chain.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

import numpy as np

from tracing.columns import COLUMN_BY_NAME, Column
from tracing.errors import TraceError, as_utf8
from tracing.ipc_message import MAX_FRAME_BYTES, CorruptFrameError, TornFrameError
from tracing.older import current_word
from tracing.schema import NUMPY_DTYPES
from tracing.values import SCALARS, Cells, Value, fits, sites_of

HEAD, STAGE, END, TOKENS, LOST = 1, 2, 3, 4, 5
"""Kinds of record: what is sealed already; a stage about to run; a finished step; bytes of new token ids; how
many steps were lost where, as the disk did not take them."""

_MAGIC: Final = b"SWJ2"
_UNCHAINED: Final = b"SWJ1"
_HEADER: Final = struct.Struct("<4sIIII")
_LENGTH: Final = struct.Struct("<I")
_UNREADABLE: Final = (
    struct.error,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)
_WORDS: Final = {None: b"null", True: b"true", False: b"false"}
_SHORT: Final = 80
"""Longest text that is kept encoded; steps repeat the same few."""
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Entry:
    """One decoded record.

    Attributes:
        kind: `HEAD`, `STAGE`, `END` or `TOKENS`.
        facts: Its JSON part without the columns.
        columns: Values recorded since the step's last record.
        inputs: Values that the stage about to run was given.
        is_chained: Its checksum vouches for the records before it.
    """

    kind: int
    facts: dict[str, Any]
    columns: dict[str, Value] = field(default_factory=dict)
    inputs: dict[str, Value] = field(default_factory=dict)
    is_chained: bool = True


class Record(NamedTuple):
    """One encoded record; `chain` gives it its place in a journal."""

    kind: int
    payload: bytes


def chain(records: Iterable[Record], crc: int = 0) -> tuple[bytes, int]:
    """Return the bytes of records that follow one another, and the CRC that the next one continues.

    Args:
        records: In order.
        crc: That of the record before them; 0 for the first of a journal.
    """
    pieces: list[bytes] = []
    for kind, payload in records:
        crc = zlib.crc32(payload, crc)
        header = _HEADER.pack(_MAGIC, kind, len(payload), crc, 0)[:-4]
        pieces += (header, _LENGTH.pack(zlib.crc32(header)), payload)
    return b"".join(pieces), crc


def facts_text(facts: Mapping[str, Any]) -> bytes:
    """Return facts as the members of a JSON object; `encode` takes them so, too."""
    return b",".join([b'"%s":%s' % (name.encode(), _as_json(value)) for name, value in facts.items()])


def encode(
    kind: int,
    facts: Mapping[str, Any] | bytes,
    columns: Mapping[str, Value] | None = None,
    inputs: Mapping[str, Value] | None = None,
) -> Record:
    """Return one record.

    Args:
        kind: Its kind.
        facts: What it says besides values, or the text of that.
        columns: Values recorded.
        inputs: Values that a stage is given.

    Raises:
        TraceError: It is larger than the reader will take.
    """
    arrays: list[Any] = []
    text = b'{%s,"columns":{%s},"inputs":{%s}}' % (
        facts if isinstance(facts, bytes) else facts_text(facts),
        _describe(columns, arrays) if columns else b"",
        _describe(inputs, arrays) if inputs else b"",
    )
    payload = b"".join((_LENGTH.pack(len(text)), text, *arrays))
    if len(payload) > MAX_FRAME_BYTES:
        raise TraceError(f"one journal record may hold {MAX_FRAME_BYTES} bytes, got {len(payload)}")
    return Record(kind, payload)


def _as_json(value: Any) -> bytes:
    """Return JSON; what an engine writes at each launch does not go through the general encoder."""
    kind = type(value)
    if kind is int:
        return b"%d" % value
    if kind is str and len(value) <= _SHORT:
        return _text_as_json(value)
    if kind is tuple:
        return b"[%s]" % b",".join([_as_json(each) for each in value])
    return _WORDS[value] if value is None or kind is bool else _ENCODER.encode(value).encode()


@lru_cache(maxsize=256)
def _text_as_json(text: str) -> bytes:
    return _ENCODER.encode(text).encode()


def _describe(values: Mapping[str, Value], arrays: list[Any]) -> bytes:
    """Return the members of a JSON object; arrays, whose bytes are joined later, go apart."""
    described: list[bytes] = []
    for name, value in values.items():
        if type(value) is Cells:
            described.append(
                _array_member(name, value.shape, value.values.itemsize, value.missing is not None)
            )
            arrays.append(value.values)
            if value.missing is not None:
                arrays.append(value.missing)
        else:
            described.append(b'"%s":%s' % (name.encode(), _as_json(value)))
    return b",".join(described)


@lru_cache(maxsize=1024)
def _array_member(name: str, shape: tuple[int, ...], itemsize: int, has_missing: bool) -> bytes:
    """Return JSON of an array: `[size, has_missing, shape, itemsize]`; kept, as steps of a run are alike."""
    return b'"%s":%s' % (name.encode(), _as_json((math.prod(shape), has_missing, shape, itemsize)))


def scan(data: memoryview, start: int = 0) -> Iterator[tuple[Entry, int]]:
    """Yield each record with the position after it.

    Raises:
        TornFrameError: The bytes end inside a record.
        CorruptFrameError: A record is not what was written.
    """
    first, before = b"", 0
    while start < len(data):
        if len(data) - start < _HEADER.size:
            raise TornFrameError(f"ends inside the header of the record at byte {start}")
        magic, kind, length, crc, header_crc = _HEADER.unpack_from(data, start)
        first = first or magic
        if (
            magic not in {_MAGIC, _UNCHAINED}
            or magic != first
            or header_crc != zlib.crc32(data[start : start + _HEADER.size - 4])
        ):
            raise CorruptFrameError(f"header of the record at byte {start} is not what was written")
        stop = start + _HEADER.size + length
        if length > MAX_FRAME_BYTES:
            raise CorruptFrameError(f"record at byte {start} claims {length} bytes")
        if stop > len(data):
            raise TornFrameError(f"ends inside the record at byte {start}")
        payload = data[start + _HEADER.size : stop]
        if crc != zlib.crc32(payload, before):
            raise CorruptFrameError(f"checksum of the record at byte {start} does not match")
        before = crc if magic == _MAGIC else 0
        yield _decode(kind, payload, start, is_chained=magic == _MAGIC), stop
        start = stop


def _decode(kind: int, payload: memoryview, start: int, *, is_chained: bool) -> Entry:
    """Return the record of a proven payload; a forged one still gives one clear error."""
    try:
        text_bytes = struct.unpack_from("<I", payload)[0]
        facts = json.loads(bytes(payload[4 : 4 + text_bytes]))
        arrays = _Arrays(payload[4 + text_bytes :])
        columns = _values(facts.pop("columns"), arrays)
        inputs = _values(facts.pop("inputs"), arrays)
    except _UNREADABLE as problem:
        raise CorruptFrameError(f"record at byte {start} cannot be read: {type(problem).__name__}") from None
    return Entry(kind, facts, columns, inputs, is_chained)


@dataclass(slots=True)
class _Arrays:
    """The array bytes of a payload, taken from the front."""

    data: memoryview
    at: int = 0

    def skip(self, num_bytes: int) -> None:
        """Step over an array that this version does not know."""
        if not 0 <= num_bytes <= len(self.data) - self.at:
            raise ValueError("an array leads outside its record")
        self.at += num_bytes

    def take(self, dtype: np.dtype[Any], size: int) -> Any:
        if type(size) is not int or not 0 <= size <= len(self.data):
            raise ValueError("an array leads outside its record")
        array = np.frombuffer(self.data, dtype, size, self.at) if size else np.empty(0, dtype)
        self.at += array.nbytes
        return array.copy()


def _values(described: dict[str, Any], arrays: _Arrays) -> dict[str, Value]:
    """Return the known columns; those of a newer minor version are stepped over."""
    found: dict[str, Value] = {}
    for name, what in described.items():
        column = COLUMN_BY_NAME.get(name)
        if column is not None:
            found[name] = _value(column, what, arrays)
        elif isinstance(what, list) and len(what) == 4 and type(what[0]) is int:
            arrays.skip(what[0] * what[3] + (what[0] if what[1] else 0))
    return found


def _value(column: Column, described: Any, arrays: _Arrays) -> Value:
    if described is None:
        return None
    if column.kind == "sites":
        return sites_of(described)
    if not column.is_list:
        return _scalar(column, described)
    size, has_missing, shape, _ = described
    if not all(type(each) is int and each >= 0 for each in shape) or math.prod(shape) != size:
        raise ValueError(f"{column.name} has another shape than size")
    values = arrays.take(NUMPY_DTYPES[column.kind], size)
    missing = arrays.take(np.dtype(np.bool_), size) if has_missing else None
    return Cells(values, missing, tuple(shape))


def _scalar(column: Column, described: Any) -> Value:
    wanted = SCALARS.get(column.kind, int)
    if type(described) is not wanted or (type(described) is int and not fits(column.kind, described)):
        raise ValueError(f"{column.name} is no {column.kind}")
    if isinstance(described, str):
        return current_word(column.name, as_utf8(described))
    return cast("Value", described)  # checked above
