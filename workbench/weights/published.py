"""ENEC's published stream: header, raw bits, low bits, masks, prefix table, high bits; byte for byte.

The layout is that of hpdps-group/ENEC at 9c7481f, for every dtype and parameter set that packs. What it
lacks is not repaired here: parameters are not in the header, exponents out of range come back wrong, and a
float32 stream of an odd number of 32 KiB units loses data, so none is written. `container` is the repair.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tracing.errors import UsageError
from workbench.weights.floats import FORMAT_OF_CODE, Bytes, FloatFormat, Words
from workbench.weights.folding import pack, unpack
from workbench.weights.parameters import GROUP, Parameters
from workbench.weights.raw_bits import join, raw_bytes, split

BLOCK: Final = 16384
"""Elements of a block."""
CORES: Final = 48
UNIT: Final = 32768
"""Bytes to which the original is padded, whatever its dtype."""
PAD: Final = 256
"""Values to whose multiple the high bits of a core are padded."""
MASK_BYTES: Final = BLOCK // GROUP // 8
MAX_BYTES: Final = 2**32 - UNIT
"""A stream's largest size before packing."""
_HEADER: Final = struct.Struct("<IIHHIIIHHHH")
HEADER_BYTES: Final = _HEADER.size


@dataclass(frozen=True, slots=True)
class Header:
    """What a stream states of itself.

    Attributes:
        num_blocks: Blocks of 16384 elements.
        original_bytes: Before padding.
        aligned_bytes: Padded to units of 32 KiB.
        stream_bytes: Of the whole stream.
    """

    layout: FloatFormat
    num_blocks: int
    original_bytes: int
    aligned_bytes: int
    stream_bytes: int

    @property
    def overlaps(self) -> bool:
        """Return whether its regions overlap: float32 and an odd number of units."""
        return self.layout.num_bytes == 4 and (self.aligned_bytes // UNIT) % 2 == 1

    @property
    def fields(self) -> tuple[int, ...]:
        """Return the numbers of the header."""
        return (
            BLOCK * self.layout.num_bytes, self.num_blocks, CORES, 0, self.original_bytes, self.aligned_bytes,
            self.stream_bytes, GROUP, self.layout.code, 4, 3,
        )  # fmt: skip


def header_for(layout: FloatFormat, original_bytes: int, stream_bytes: int = 0) -> Header:
    """Return the header of so many bytes of a dtype."""
    aligned = -(-original_bytes // UNIT) * UNIT
    blocks = -(-aligned // (BLOCK * layout.num_bytes))
    return Header(layout, blocks, original_bytes, aligned, stream_bytes)


def read_header(stream: bytes) -> Header:
    """Read and check a header; nothing is allocated by what it says.

    Raises:
        UsageError: Not a header of this layout, or one that disagrees with itself or with the stream's size.
    """
    if len(stream) < HEADER_BYTES:
        raise UsageError(f"an ENEC stream has a header of {HEADER_BYTES} bytes, got {len(stream)} bytes")
    fields = _HEADER.unpack_from(stream)
    layout = FORMAT_OF_CODE.get(fields[8])
    if layout is None or fields[2] != CORES or fields[7] != GROUP:
        raise UsageError("not an ENEC stream: its header should state 48 cores, groups of 16, dtype 0 to 2")
    header = header_for(layout, fields[4], fields[6])
    if header.fields != fields:
        raise UsageError(
            f"the ENEC header disagrees with itself: {fields[1]} blocks of {fields[0]} bytes for "
            f"{fields[4]:,} bytes padded to {fields[5]:,}"
        )
    if header.stream_bytes != len(stream):
        raise UsageError(
            f"the ENEC stream is cut off or has a tail: its header says {header.stream_bytes:,} bytes, "
            f"got {len(stream):,}"
        )
    return header


def write_stream(
    words: Words, layout: FloatFormat, parameters: Parameters, *, checks_range: bool = True
) -> bytes:
    """Encode elements as the published kernels do; pad bits are zero.

    Args:
        words: Elements of `layout`, any shape.
        layout: Dtype.
        parameters: What the kernel would be built for.
        checks_range: Refuse exponents that would come back wrong; the published tool does not.

    Raises:
        UsageError: An exponent out of range, or a float32 tensor whose regions would overlap.
    """
    flat = words.reshape(-1)
    header = header_for(layout, flat.nbytes)
    if header.overlaps:
        raise UsageError(
            f"{flat.size:,} float32 elements are an odd number of 32 KiB units: the published layout loses "
            "data there; use the container"
        )
    if header.aligned_bytes > MAX_BYTES:
        raise UsageError(
            f"{flat.nbytes:,} bytes are more than the 32 bits of a published header count; use the container"
        )
    exponents = layout.exponents(flat)
    if checks_range and not parameters.represents(exponents):
        raise UsageError(
            f"exponents {int(exponents.min())} to {int(exponents.max())} do not all lie in "
            f"{parameters.least} to {parameters.most}, which {parameters} represents"
        )
    blocks = np.zeros((header.num_blocks, BLOCK), layout.word)
    blocks.reshape(-1)[: flat.size] = flat
    raw, numbers = split(blocks, layout, parameters)
    mask = groups_with_high(numbers, parameters)
    low = pack(numbers & np.uint8((1 << parameters.low_bits) - 1), parameters.low_bits)
    cores = [_packed_core(values, parameters.high_bits) for values in _by_core(numbers, mask, parameters)]
    ends = np.cumsum([len(core) for core in cores])
    prefix = np.concatenate([[0], ends[:-1]]).astype("<u4").tobytes()
    body = b"".join(
        [
            *(region.tobytes() for region in raw),
            low.tobytes(),
            np.packbits(mask, axis=-1, bitorder="little").tobytes(),
            prefix,
            *cores,
        ]
    )
    return _HEADER.pack(*header_for(layout, flat.nbytes, HEADER_BYTES + len(body)).fields) + body


def groups_with_high(numbers: Bytes, parameters: Parameters) -> NDArray[np.bool_]:
    """Return which groups hold a number beyond the low bits: bool `[blocks, block / 16]`.

    Group g holds the elements g, g + block / 16, g + 2 block / 16, and so on.
    """
    together = np.bitwise_or.reduce(numbers.reshape(len(numbers), GROUP, -1), axis=1)
    chosen: NDArray[np.bool_] = together >= (1 << parameters.low_bits)
    return chosen


def _by_core(numbers: Bytes, mask: NDArray[np.bool_], parameters: Parameters) -> Iterator[Bytes]:
    """Yield the high bits that each core collects, in the order of its blocks and their elements."""
    high = (numbers >> np.uint8(parameters.low_bits)).reshape(len(numbers), GROUP, -1)
    for core in range(CORES):
        mine = range(core, len(numbers), CORES)
        yield np.concatenate(
            [high[block][:, mask[block]].reshape(-1) for block in mine] or [np.zeros(0, np.uint8)]
        )


def _packed_core(values: Bytes, num_bits: int) -> bytes:
    """Pack whole blocks of values, then the rest padded to a multiple of 256."""
    whole = len(values) // BLOCK * BLOCK
    rest = np.zeros(-(-(len(values) - whole) // PAD) * PAD, np.uint8)
    rest[: len(values) - whole] = values[whole:]
    return pack(values[:whole].reshape(-1, BLOCK), num_bits).tobytes() + pack(rest, num_bits).tobytes()


@dataclass(frozen=True, slots=True)
class Regions:
    """Where things lie in a stream, as [first byte, byte after the last)."""

    raw: tuple[int, int]
    low: tuple[int, int]
    mask: tuple[int, int]
    prefix: tuple[int, int]
    high: tuple[int, int]


def regions(header: Header, low_bits: int) -> Regions:
    """Return where the regions of a stream lie if it stores so many low bits."""
    sizes = (
        header.num_blocks * raw_bytes(header.layout, BLOCK),
        header.num_blocks * BLOCK * low_bits // 8,
        header.num_blocks * MASK_BYTES,
        4 * CORES,
    )
    starts = [HEADER_BYTES + sum(sizes[:place]) for place in range(5)]
    return Regions(*zip(starts, [*starts[1:], header.stream_bytes], strict=True))


def read_stream(stream: bytes, parameters: Parameters) -> tuple[Words, FloatFormat, int]:
    """Decode a stream as the published kernels do.

    Args:
        stream: The whole stream.
        parameters: Those of the kernel that wrote it; the stream does not state them.

    Returns:
        The elements, their dtype, and how many exponents lie outside a dtype's own range, which only happens
        to elements that were already lost on writing. Their excess bits spill into sign and mantissa, as on
        the device.

    Raises:
        UsageError: Not a stream, one written with other n and m, or one whose regions overlap.
    """
    header = read_header(stream)
    if header.overlaps:
        raise UsageError(
            "float32 in an odd number of 32 KiB units: the regions of this stream overlap, and the elements "
            "there are lost"
        )
    numbers = _numbers(stream, header, parameters)
    exponents = parameters.exponents(numbers)
    outside = int(((exponents < 0) | (exponents > header.layout.largest_exponent)).sum())
    first, last = regions(header, parameters.low_bits).raw
    raw = np.frombuffer(stream, np.uint8, last - first, first)
    words = join(raw, exponents, header.layout)
    return words.reshape(-1)[: header.original_bytes // header.layout.num_bytes], header.layout, outside


def _numbers(stream: bytes, header: Header, parameters: Parameters) -> Bytes:
    """Return the numbers of all elements, uint8 `[blocks, BLOCK]`."""
    places = regions(header, parameters.low_bits)
    if places.high[0] > header.stream_bytes:
        raise UsageError(f"the ENEC stream is too short for {parameters}; was it written with another m?")
    mask = stream_mask(stream, places, header)
    prefix = np.frombuffer(stream, "<u4", CORES, places.prefix[0])
    counts = core_counts(mask)
    expected = core_bytes(counts, parameters.high_bits)
    if not np.array_equal(np.concatenate([[0], np.cumsum(expected)])[:-1], prefix) or (
        int(expected.sum()) != places.high[1] - places.high[0]
    ):
        raise UsageError(
            f"the prefix table of the ENEC stream does not fit its masks with {parameters}; "
            "was it written with another n or m?"
        )
    low = np.frombuffer(stream, np.uint8, places.low[1] - places.low[0], places.low[0])
    numbers = unpack(low.reshape(header.num_blocks, -1), parameters.low_bits, BLOCK)
    for core in range(CORES):
        start = places.high[0] + int(prefix[core])
        packed = np.frombuffer(stream, np.uint8, int(expected[core]), start)
        values = _unpacked_core(packed, int(counts[core]), parameters.high_bits)
        taken = 0
        for block in range(core, header.num_blocks, CORES):
            chosen = np.flatnonzero(mask[block])
            part = values[taken : taken + GROUP * len(chosen)].reshape(GROUP, -1)
            numbers[block].reshape(GROUP, -1)[:, chosen] |= part << np.uint8(parameters.low_bits)
            taken += part.size
    return numbers


def stream_mask(stream: bytes, places: Regions, header: Header) -> NDArray[np.bool_]:
    """Return the group bits of all blocks, bool `[blocks, 1024]`."""
    packed = np.frombuffer(stream, np.uint8, header.num_blocks * MASK_BYTES, places.mask[0])
    return np.unpackbits(packed.reshape(-1, MASK_BYTES), axis=-1, bitorder="little").view(np.bool_)


def core_counts(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how many values each core has high bits of."""
    counts = np.zeros(CORES, np.int64)
    np.add.at(counts, np.arange(len(mask)) % CORES, mask.sum(-1) * GROUP)
    return counts


def core_bytes(counts: NDArray[np.int64], high_bits: int) -> NDArray[np.int64]:
    """Return the bytes of the high bits of each core."""
    return -(-counts // PAD) * PAD * high_bits // 8


def _unpacked_core(packed: Bytes, count: int, num_bits: int) -> Bytes:
    whole = count // BLOCK
    size = BLOCK * num_bits // 8
    head = unpack(packed[: whole * size].reshape(whole, size), num_bits, BLOCK).reshape(-1)
    padded = -(-(count - whole * BLOCK) // PAD) * PAD
    return np.concatenate([head, unpack(packed[whole * size :], num_bits, padded)])[:count]
