"""A safetensors file in packed form: every floating point tensor in ENEC's code, the rest as it is.

Unpacking gives the original file, byte for byte: its header is kept as it was.

Layout, little-endian: 40 bytes (magic, bytes of the original, bytes of this file, tensors, bytes of the
original's header, checksum of all before the data), the original's header, a table of 16 bytes a tensor
(kind, checksum, bytes), the tensors in the order of the original.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracing.errors import CheckpointError, ModelMissingError, UsageError
from tracing.files import environment_problem, open_regular
from workbench.checkpoints.json_text import shown
from workbench.checkpoints.safetensors_header import LENGTH_BYTES, StoredTensor, check_header, header_length
from workbench.weights import container
from workbench.weights.choice import choose
from workbench.weights.container import DecodeBlocks
from workbench.weights.floats import BFLOAT16, FLOAT16, FLOAT32, Bytes, FloatFormat
from workbench.weights.native import decoder_for

SUFFIX: Final = ".enec"
MAGIC: Final = b"SPECWBW1"
STORED, PACKED = 0, 1
"""Kinds of a tensor."""
FLOATS: Final = {"BF16": BFLOAT16, "F16": FLOAT16, "F32": FLOAT32}
"""safetensors' names of the dtypes that are packed."""
_HEADER: Final = struct.Struct("<8sQQIIIxxxx")
_TABLE: Final = np.dtype([("kind", "<u4"), ("check", "<u4"), ("bytes", "<u8")])


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A packed file that is open; header and table are checked, tensors are not yet.

    Attributes:
        head: The header of the original, its eight bytes of length included.
        tensors: In the order of their data.
        kinds, checks: Of each tensor.
        parts: The bytes of each tensor, as stored.
        original_bytes: Of the original.
        decode: Decodes blocks.
    """

    name: str
    head: bytes
    tensors: list[StoredTensor]
    kinds: list[int]
    checks: list[int]
    parts: list[Bytes]
    original_bytes: int
    decode: DecodeBlocks

    def stream(self, place: int) -> container.Stream:
        """Return the stream of a packed tensor.

        Raises:
            CheckpointError: It is damaged, or not of the tensor that the header names.
        """
        tensor = self.tensors[place]
        name = f"{self.name}: {shown(tensor.name)}"
        try:
            stream = container.open_stream(self.parts[place], name)
        except UsageError as error:
            raise CheckpointError(str(error)) from None
        num_bytes = stream.num_elements * stream.layout.num_bytes
        if stream.layout is not FLOATS.get(tensor.dtype) or num_bytes != tensor.last - tensor.first:
            raise CheckpointError(
                f"{name} should hold {tensor.last - tensor.first:,} bytes of {tensor.dtype}, its stream "
                f"holds {num_bytes:,} of {stream.layout.name}"
            )
        return stream

    def bytes_of(self, place: int) -> Bytes:
        """Return the original bytes of a tensor, uint8, writable.

        Raises:
            CheckpointError: They do not have their checksum.
        """
        if self.kinds[place] == PACKED:
            stream = self.stream(place)
            try:
                name = f"{self.name}: {shown(self.tensors[place].name)}"
                return container.read(stream, name, decode=self.decode).view(np.uint8)
            except UsageError as error:
                raise CheckpointError(str(error)) from None
        if zlib.crc32(self.parts[place].data) != self.checks[place]:
            raise CheckpointError(
                f"{self.name} is damaged: {shown(self.tensors[place].name)} does not have its checksum; "
                "make the packed file again from the original"
            )
        return self.parts[place].copy()


@contextmanager
def mapped(path: Path) -> Iterator[Bytes]:
    """Give the bytes of a regular file, mapped, uint8.

    Raises:
        ModelMissingError: There is none.
        CheckpointError: It cannot be read.
    """
    try:
        with open_regular(path) as stream:
            size = path.stat().st_size
            if not size:
                yield np.zeros(0, np.uint8)
                return
            mapping = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise ModelMissingError(f"{path} is not there") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
    yield np.frombuffer(mapping, np.uint8)  # unmapped with the last array over it


def safetensors_parts(data: Bytes, name: str) -> tuple[bytes, list[StoredTensor]]:
    """Return the header of a safetensors file, its length included, and its tensors.

    Raises:
        CheckpointError: Not such a file.
    """
    length = header_length(bytes(data[:LENGTH_BYTES]), data.size, name)
    head = bytes(data[: LENGTH_BYTES + length])
    return head, check_header(head[LENGTH_BYTES:], data.size, name)


def write_packed(source: Path, target: Path) -> None:
    """Pack a safetensors file.

    Raises:
        CheckpointError: The source is none.
        EnvironmentProblemError: The target cannot be written.
    """
    with mapped(source) as data:
        head, tensors = safetensors_parts(data, str(source))
        table = np.zeros(len(tensors), _TABLE)
        start = _HEADER.size + len(head) + table.nbytes
        fresh = target.with_name(target.name + ".new")
        try:
            with fresh.open("wb") as out:
                out.seek(start)
                for row, tensor in zip(table, tensors, strict=True):
                    part = _part(data[len(head) + tensor.first : len(head) + tensor.last], tensor)
                    row["kind"], row["check"], row["bytes"] = part[0], zlib.crc32(part[1]), len(part[1])
                    out.write(part[1])
                end = start + int(table["bytes"].sum())
                fields = (MAGIC, data.size, end, len(tensors), len(head))
                out.seek(0)
                out.write(_HEADER.pack(*fields, _check(fields, head, table)) + head + table.tobytes())
            fresh.replace(target)
        except OSError as problem:
            raise environment_problem(target, problem) from None
        finally:
            fresh.unlink(missing_ok=True)


def _part(data: Bytes, tensor: StoredTensor) -> tuple[int, bytes]:
    """Return how a tensor is stored, and its bytes."""
    layout = FLOATS.get(tensor.dtype)
    packed = None if layout is None or not data.size else _packed(data, layout)
    return (STORED, data.tobytes()) if packed is None or len(packed) >= data.size else (PACKED, packed)


def _packed(data: Bytes, layout: FloatFormat) -> bytes:
    words = np.frombuffer(data.tobytes(), layout.word)
    return container.write(words, layout, choose(words, layout))


def _check(fields: tuple[Any, ...], head: bytes, table: NDArray[Any]) -> int:
    return zlib.crc32(table.tobytes(), zlib.crc32(head, zlib.crc32(_HEADER.pack(*fields, 0))))


def open_packed(data: Bytes, name: str) -> PackedFile:
    """Read and check header and table of a packed file.

    Raises:
        CheckpointError: Not such a file, cut off, with a tail, or damaged there.
    """
    if data.size < _HEADER.size or bytes(data[:8]) != MAGIC:
        raise CheckpointError(f"{name} is no packed file of weights: it should begin with {MAGIC.decode()}")
    *fields, check = _HEADER.unpack_from(data.data)
    _, original_bytes, file_bytes, num_tensors, head_bytes = fields
    if file_bytes != data.size:
        raise CheckpointError(
            f"{name} is cut off or has a tail: its header says {file_bytes:,} bytes, {data.size:,} are there"
        )
    start = _HEADER.size + head_bytes + num_tensors * _TABLE.itemsize
    if start > data.size:
        raise CheckpointError(f"{name} is damaged: its header and table do not fit the file")
    head = bytes(data[_HEADER.size : _HEADER.size + head_bytes])
    table = np.frombuffer(bytes(data[_HEADER.size + head_bytes : start]), _TABLE)
    if _check(tuple(fields), head, table) != check:
        raise CheckpointError(
            f"{name} is damaged: its header does not have the checksum that it states; make the packed file "
            "again from the original"
        )
    header_length(head[:LENGTH_BYTES], original_bytes, name)
    tensors = check_header(head[LENGTH_BYTES:], original_bytes, name)
    ends = start + np.cumsum(table["bytes"], dtype=np.float64)  # a float cannot wrap round
    if len(tensors) != num_tensors or (ends[-1] if num_tensors else start) != data.size:
        raise CheckpointError(f"{name} is damaged: its table does not fit its tensors")
    bounds = [start, *map(int, ends)]
    parts = [data[first:last] for first, last in pairwise(bounds)]
    kinds = table["kind"].tolist()
    for tensor, kind, part in zip(tensors, kinds, parts, strict=True):
        if kind > PACKED or (kind == STORED and part.size != tensor.last - tensor.first):
            raise CheckpointError(f"{name} is damaged: {shown(tensor.name)} has {part.size:,} bytes")
    checks = table["check"].tolist()
    return PackedFile(name, head, tensors, kinds, checks, parts, original_bytes, decoder_for(data.size))


def write_original(packed: PackedFile, target: Path) -> None:
    """Write the safetensors file that was packed.

    Raises:
        CheckpointError: The packed file is damaged; nothing is written.
        EnvironmentProblemError: The target cannot be written.
    """
    fresh = target.with_name(target.name + ".new")
    try:
        with fresh.open("wb") as out:
            out.write(packed.head)
            for place in range(len(packed.tensors)):
                out.write(packed.bytes_of(place).data)
        fresh.replace(target)
    except OSError as problem:
        raise environment_problem(target, problem) from None
    finally:
        fresh.unlink(missing_ok=True)
