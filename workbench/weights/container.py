"""Our own stream of one tensor: ENEC's code with what the published stream lacks.

Parameters stand in the header; a block whose exponents they do not represent, or that would not get smaller,
is stored as it is; header, table and every block have a checksum; the last block is padded alone. Every bit
of the original comes back, NaN payloads included, or the stream is refused.

Layout, little-endian: header of 40 bytes, table of 12 bytes a block, the blocks.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracing.errors import UsageError
from workbench.weights.floats import FORMAT_OF_CODE, FORMATS, Bytes, FloatFormat, Words
from workbench.weights.grouped import block_shape, decode_blocks, encode_block
from workbench.weights.parameters import Parameters

MAGIC: Final = b"SPWE"
VERSION: Final = 1
BLOCK: Final = 16384
RAW, GROUPED = 0, 1
"""Kinds of a block."""
AT_ONCE: Final = 16
"""Blocks that are decoded together: what fits the cache of a core."""
_HEADER: Final = struct.Struct("<4sBBBBBxxxQQIII")
TABLE: Final = np.dtype([("bytes", "<u4"), ("check", "<u4"), ("kind", "<u4")])
Table = NDArray[Any]
DecodeBlocks = Callable[[list[Bytes], Words, FloatFormat, Parameters], bool]
"""As `grouped.decode_blocks`."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream whose header and table are checked; its blocks are not yet.

    Attributes:
        layout: Dtype.
        parameters: Of the blocks that are grouped.
        num_elements: Of the tensor.
        table: One row a block: bytes, checksum, kind.
        data: The whole stream, uint8.
    """

    layout: FloatFormat
    parameters: Parameters
    num_elements: int
    table: Table
    data: Bytes

    @property
    def starts(self) -> NDArray[np.int64]:
        """Return where each block begins, int64 `[blocks + 1]`, the end of the last one included."""
        first = _HEADER.size + self.table.nbytes
        return np.concatenate([[first], first + np.cumsum(self.table["bytes"], dtype=np.int64)])

    def elements(self, block: int) -> int:
        """Return how many elements a block holds."""
        return min(BLOCK, self.num_elements - block * BLOCK)

    @property
    def num_raw(self) -> int:
        """Return the blocks that are stored as they are."""
        return int((self.table["kind"] == RAW).sum())


def write(words: Words, layout: FloatFormat, parameters: Parameters) -> bytes:
    """Encode a tensor.

    Args:
        words: Elements of `layout`, any shape, none allowed.
        layout: Dtype.
        parameters: Best from `choice.choose`; any are safe.
    """
    flat = np.ascontiguousarray(words, layout.word).reshape(-1)
    blocks, kinds = [], []
    for start in range(0, flat.size, BLOCK):
        own = flat[start : start + BLOCK]
        coded = encode_block(own, layout, parameters)
        smaller = coded is not None and len(coded) < own.nbytes
        blocks.append(coded if smaller and coded is not None else own.tobytes())
        kinds.append(GROUPED if smaller else RAW)
    table = np.zeros(len(blocks), TABLE)
    table["bytes"] = [len(block) for block in blocks]
    table["check"] = [zlib.crc32(block) for block in blocks]
    table["kind"] = kinds
    body = b"".join(blocks)
    size = _HEADER.size + table.nbytes + len(body)
    fields = (
        MAGIC, VERSION, layout.code, parameters.base, parameters.num_bits, parameters.low_bits,
        flat.size, size, BLOCK, len(table),
    )  # fmt: skip
    check = _head_check(_HEADER.pack(*fields, 0), table)
    return _HEADER.pack(*fields, check) + table.tobytes() + body


def _head_check(header: bytes, table: Table) -> int:
    """Return the checksum of a header without its own place, and of the table."""
    return zlib.crc32(table.tobytes(), zlib.crc32(header[:-4]))


def open_stream(data: bytes | memoryview | Bytes, name: str = "the stream") -> Stream:
    """Read and check header and table; nothing is allocated beyond what the stream itself takes.

    Raises:
        UsageError: Not such a stream, cut off, with a tail, or damaged in header or table.
    """
    view = np.frombuffer(data, np.uint8)
    if view.size < _HEADER.size or bytes(view[:4]) != MAGIC:
        raise UsageError(f"{name} is no packed tensor: it should begin with {MAGIC.decode()}")
    fields = _HEADER.unpack_from(view.data)
    _, version, code, base, num_bits, low_bits, num_elements, size, block, num_blocks, check = fields
    if version != VERSION or block != BLOCK:
        raise UsageError(
            f"{name} is a packed tensor of version {version} in blocks of {block}; this release reads "
            f"version {VERSION} in blocks of {BLOCK}"
        )
    if size != view.size:
        raise UsageError(
            f"{name} is cut off or has a tail: its header says {size:,} bytes, {view.size:,} are there"
        )
    table_bytes = num_blocks * TABLE.itemsize
    if num_blocks != -(-num_elements // BLOCK) or _HEADER.size + table_bytes > size:
        raise UsageError(
            f"{name} is damaged: its header says {num_elements:,} elements, {num_blocks:,} blocks"
        )
    table = view[_HEADER.size : _HEADER.size + table_bytes].view(TABLE)
    if _head_check(bytes(view[: _HEADER.size]), table) != check:
        raise UsageError(f"{name} is damaged: its header and table do not have the checksum that they state")
    layout = FORMAT_OF_CODE.get(code)
    if layout is None:
        raise UsageError(f"{name} has dtype {code}; expected 0 to {len(FORMATS) - 1}")
    stream = Stream(layout, Parameters(base, num_bits, low_bits), num_elements, table, view)
    _check_table(stream, name)
    return stream


def _check_table(stream: Stream, name: str) -> None:
    """Refuse sizes and kinds that no block of this stream can have: they bound what decoding allocates."""
    table = stream.table
    if int(stream.starts[-1]) != stream.data.size or bool((table["kind"] > GROUPED).any()):
        raise UsageError(f"{name} is damaged: its table does not fit its blocks")
    if not len(table):
        return
    elements = np.full(len(table), BLOCK)
    elements[-1] = stream.elements(len(table) - 1)
    raw = elements * stream.layout.num_bytes
    fixed = [block_shape(int(count), stream.layout, stream.parameters).fixed for count in elements[[0, -1]]]
    least = np.where(table["kind"] == RAW, raw, np.where(elements == BLOCK, fixed[0], fixed[1]))
    wrong = np.flatnonzero((table["bytes"] < least) | (table["bytes"] > raw))
    if wrong.size:
        block = int(wrong[0])
        raise UsageError(f"{name} is damaged: block {block} has {int(table['bytes'][block]):,} bytes")


def damaged_blocks(stream: Stream) -> list[int]:
    """Return the blocks whose bytes do not have their checksum."""
    starts, view = stream.starts.tolist(), stream.data.data
    checks = stream.table["check"].tolist()
    return [
        block for block, check in enumerate(checks)
        if zlib.crc32(view[starts[block] : starts[block + 1]]) != check
    ]  # fmt: skip


def read(stream: Stream, name: str = "the stream", *, decode: DecodeBlocks = decode_blocks) -> Words:
    """Decode a stream whose header was checked.

    Args:
        stream: From `open_stream`.
        name: What the sentence of an error calls it.
        decode: Decodes blocks; the law, or what was compiled.

    Raises:
        UsageError: A block that does not have its checksum, or disagrees with itself.
    """
    damaged = damaged_blocks(stream)
    if damaged:
        raise UsageError(
            f"{name} is damaged: block {damaged[0]} of {len(stream.table)} does not have its checksum "
            f"({len(damaged)} in all); make the packed file again from the original"
        )
    out = np.empty(stream.num_elements, stream.layout.word)
    starts, kinds = stream.starts.tolist(), stream.table["kind"].tolist()
    for first, last in _runs(stream):
        part = stream.data[starts[first] : starts[last]]
        target = out[first * BLOCK : min(last * BLOCK, stream.num_elements)]
        if kinds[first] == RAW:
            target.view(np.uint8)[:] = part
            continue
        blocks = [stream.data[start:end] for start, end in pairwise(starts[first : last + 1])]
        if not decode(blocks, target.reshape(last - first, -1), stream.layout, stream.parameters):
            raise UsageError(f"{name} is damaged: a block of {first} to {last - 1} disagrees with its mask")
    return out


def _runs(stream: Stream) -> Iterator[tuple[int, int]]:
    """Yield runs of blocks of one kind and one size as (first, after the last)."""
    kinds = stream.table["kind"].tolist()
    first = 0
    for block in range(1, len(kinds) + 1):
        ends = block == len(kinds) or kinds[block] != kinds[first] or block - first == AT_ONCE
        if ends or stream.elements(block) != stream.elements(first):
            yield first, block
            first = block
