"""The header of a safetensors file, checked before anything is mapped or allocated after it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from tracing.errors import CheckpointError
from workbench.checkpoints.json_text import parse_object, shown

MAX_HEADER: Final = 32 << 20
LENGTH_BYTES: Final = 8
BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


@dataclass(frozen=True, slots=True, order=True)
class StoredTensor:
    """One tensor of a safetensors file.

    Attributes:
        first, last: First byte of its data and the byte after the last, counted behind the header.
    """

    first: int
    last: int
    name: str
    dtype: str
    shape: tuple[int, ...]


def header_length(start: bytes, file_bytes: int, name: str) -> int:
    """Return the length of the header from the first eight bytes of the file.

    Raises:
        CheckpointError: The file is shorter than it says, or the header larger than any is.
    """
    if len(start) < LENGTH_BYTES:
        raise CheckpointError(f"{name} is not a readable safetensors file: it has {len(start)} bytes")
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    if length > file_bytes - LENGTH_BYTES:
        raise CheckpointError(
            f"{name} is cut off or not a safetensors file: its header should have {length:,} bytes, "
            f"the file has {file_bytes:,}"
        )
    if length > MAX_HEADER:
        raise CheckpointError(f"{name} has a header of {length:,} bytes; {MAX_HEADER:,} is the most")
    return length


def check_header(header: bytes, file_bytes: int, name: str) -> list[StoredTensor]:
    """Return the tensors in the order of their data.

    Every tensor lies where its dtype and shape say, one after the other, to the file's end.

    Args:
        header: The JSON text after the first eight bytes.
        file_bytes: Size of the whole file.
        name: What the sentence of an error calls the file.

    Raises:
        CheckpointError: Names the tensor and what is wrong with it.
    """
    entries = parse_object(header, f"the header of {name}", most_bytes=MAX_HEADER)
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError(f"{name}: __metadata__ should map names to text")
    tensors = sorted(_tensor(entry, tensor, name) for tensor, entry in entries.items())
    end = 0
    for tensor in tensors:
        if tensor.first != end:
            what = "overlaps the tensor before it" if tensor.first < end else "leaves a hole before it"
            raise CheckpointError(
                f"{name}: {shown(tensor.name)} {what} (bytes {tensor.first:,} to {tensor.last:,}, "
                f"{end:,} expected)"
            )
        end = tensor.last
    data_bytes = file_bytes - LENGTH_BYTES - len(header)
    if end != data_bytes:
        raise CheckpointError(
            f"{name} is cut off or has a tail: its tensors take {end:,} bytes, {data_bytes:,} are there"
        )
    return tensors


def _tensor(entry: Any, own_name: str, name: str) -> StoredTensor:
    """Return one tensor of the header."""
    tensor = shown(own_name)
    if not isinstance(entry, dict):
        raise CheckpointError(
            f"{name}: {tensor} should have dtype, shape and data_offsets, got {shown(entry)}"
        )
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        raise CheckpointError(f"{name}: {tensor} has dtype {shown(dtype)}, which safetensors does not have")
    if not _counts(shape):
        raise CheckpointError(f"{name}: {tensor} should have a shape of whole numbers, got {shown(shape)}")
    if not _counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise CheckpointError(
            f"{name}: {tensor} should have two ascending data_offsets, got {shown(offsets)}"
        )
    bits = math.prod(shape) * BITS[dtype]
    if bits != 8 * (offsets[1] - offsets[0]):
        raise CheckpointError(
            f"{name}: {tensor} of dtype {dtype} and shape {shown(shape)} takes {shown(bits // 8)} bytes, "
            f"but its data_offsets span {offsets[1] - offsets[0]:,}"
        )
    return StoredTensor(offsets[0], offsets[1], own_name, dtype, tuple(shape))


def _counts(value: object) -> TypeGuard[list[int]]:
    return (
        isinstance(value, list)
        and len(value) <= 64
        and all(isinstance(item, int) and not isinstance(item, bool) and item >= 0 for item in value)
    )
