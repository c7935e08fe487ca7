"""Records of one process: JSON and arrays, framed, each with a checksum; one for each launch.

A record is a header (magic, kind, lengths, checksum; little-endian), a JSON part (facts, and of each array
its name, dtype and shape) and the arrays' bytes in that order.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracing.errors import TraceError

BEGIN, ADMIT, PREEMPTED, ENDED, SEEN, CLOSED = range(1, 7)
"""Kinds: what process this is; a new request; a life that ended; a launch as the scheduler has it; a
launch as a worker has it; the end, with what recording cost."""
_HEADER: Final = struct.Struct("<4sIIII")
_MAGIC: Final = b"SWE1"
_DTYPES: Final = frozenset(("|b1", "|i1", "|u1", "<i2", "<i4", "<i8", "<u2", "<u4", "<u8", "<f4", "<f8"))
MAX_RECORD: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class PartRecord:
    """One decoded record.

    Attributes:
        kind: One of the kinds above.
        facts: Its plain data.
        arrays: By name.
    """

    kind: int
    facts: dict[str, Any]
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)


def encoded(kind: int, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None) -> bytes:
    """Return the bytes of one record."""
    pieces, described = [], []
    for name, array in (arrays or {}).items():
        pieces.append(array.tobytes())
        described.append(_described(name, array.dtype.str, array.shape))
    text = b"[%s,[%s]]" % (json.dumps(facts, separators=(",", ":")).encode(), b",".join(described))
    payload = b"".join((text, *pieces))
    return _HEADER.pack(_MAGIC, kind, len(text), len(payload), zlib.crc32(payload)) + payload


@lru_cache(maxsize=4096)
def _described(name: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    return json.dumps([name, dtype, list(shape)], separators=(",", ":")).encode()


def scanned(data: memoryview, name: str) -> Iterator[tuple[PartRecord, int]]:
    """Yield each record and where it begins; a record that was cut at the end of the file is left out.

    Raises:
        TraceError: A record is not what was written.
    """
    start = 0
    while start + _HEADER.size <= len(data):
        magic, kind, text_bytes, length, crc = _HEADER.unpack_from(data, start)
        if magic != _MAGIC or text_bytes > length or length > MAX_RECORD:
            raise TraceError(f"{name}: no record begins at byte {start}")
        stop = start + _HEADER.size + length
        if stop > len(data):
            return
        payload = data[start + _HEADER.size : stop]
        if zlib.crc32(payload) != crc:
            raise TraceError(f"{name}: checksum of the record at byte {start} does not match")
        try:
            yield PartRecord(kind, *_decoded(payload, text_bytes)), start
        except (ValueError, TypeError, KeyError, RecursionError) as problem:
            raise TraceError(
                f"{name}: record at byte {start} cannot be read: {type(problem).__name__}"
            ) from None
        start = stop


def _decoded(payload: memoryview, text_bytes: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    facts, described = json.loads(bytes(payload[:text_bytes]))
    if not isinstance(facts, dict):
        raise TypeError("facts are no object")
    arrays, at = {}, text_bytes
    for name, dtype, shape in described:
        if dtype not in _DTYPES or not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError("an array of no known kind")
        arrays[name] = np.frombuffer(payload, np.dtype(dtype), math.prod(shape), at).reshape(shape)
        at += arrays[name].nbytes
    return facts, arrays
