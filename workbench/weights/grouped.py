"""One block of a container in ENEC's code: raw bits, low bits, group mask, its high bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.weights.floats import Bytes, FloatFormat, Words
from workbench.weights.folding import pack, unpack
from workbench.weights.parameters import GROUP, Parameters
from workbench.weights.raw_bits import join, raw_bytes, raw_regions

STEP = 256
"""A block is padded to a multiple of so many elements."""


@dataclass(frozen=True, slots=True)
class BlockShape:
    """Sizes of the parts of a block.

    Attributes:
        num_elements: Of the block, pads included.
        raw, low, mask: Bytes of the parts whose size is fixed.
        high_bits: Bits beyond the low ones, of every element of a chosen group.
    """

    num_elements: int
    raw: int
    low: int
    mask: int
    high_bits: int

    @property
    def fixed(self) -> int:
        """Return the bytes before the high bits."""
        return self.raw + self.low + self.mask

    def high(self, num_groups: int) -> int:
        """Return the bytes of the high bits of so many groups."""
        return num_groups * GROUP * self.high_bits // 8


def block_shape(num_elements: int, layout: FloatFormat, parameters: Parameters) -> BlockShape:
    """Return the sizes of a block of so many elements, which is padded to whole steps."""
    padded = -(-num_elements // STEP) * STEP
    return BlockShape(
        padded,
        raw_bytes(layout, padded),
        padded * parameters.low_bits // 8,
        padded // GROUP // 8,
        parameters.high_bits,
    )


def encode_block(words: Words, layout: FloatFormat, parameters: Parameters) -> bytes | None:
    """Return a block as bytes, None where an exponent cannot be represented.

    Args:
        words: Elements `[B]`.
        layout: Dtype.
        parameters: Of the whole tensor.
    """
    if not parameters.represents(layout.exponents(words)):
        return None
    shape = block_shape(words.size, layout, parameters)
    padded = np.full((1, shape.num_elements), parameters.base << layout.mantissa_bits, layout.word)
    padded[0, : words.size] = words
    numbers = parameters.numbers(layout.exponents(padded)).reshape(GROUP, -1)
    mask = np.bitwise_or.reduce(numbers, axis=0) >= (1 << parameters.low_bits)
    low = numbers & np.uint8((1 << parameters.low_bits) - 1)
    high = (numbers[:, mask] >> np.uint8(parameters.low_bits)).reshape(-1)
    parts = [
        *raw_regions(padded, layout),
        pack(low.reshape(-1), parameters.low_bits),
        np.packbits(mask, bitorder="little"),
        pack(high, parameters.high_bits),
    ]
    return b"".join(part.tobytes() for part in parts)


def decode_blocks(blocks: Sequence[Bytes], out: Words, layout: FloatFormat, parameters: Parameters) -> bool:
    """Decode blocks of one size.

    Args:
        blocks: The bytes of each.
        out: Where their elements go, `[blocks, elements]`, contiguous.
        layout: Dtype.
        parameters: Of the whole tensor.

    Returns:
        Whether it could; False where a block has another size than its mask asks for.
    """
    num_elements = out.shape[1]
    shape = block_shape(num_elements, layout, parameters)
    if any(block.size < shape.fixed for block in blocks):
        return False
    fixed = np.stack([block[: shape.fixed] for block in blocks])
    low_end = shape.raw + shape.low
    mask = np.unpackbits(fixed[:, low_end:], axis=-1, bitorder="little").view(np.bool_)
    numbers = unpack(fixed[:, shape.raw : low_end], parameters.low_bits, shape.num_elements)
    for block, own, chosen in zip(blocks, numbers, map(np.flatnonzero, mask), strict=True):
        if block.size != shape.fixed + shape.high(chosen.size):
            return False
        _add_high(own.reshape(GROUP, -1), block[shape.fixed :], chosen, parameters)
    words = join(_raw_parts(fixed, shape, layout), parameters.exponents(numbers), layout)
    out[:] = words[:, :num_elements]
    return True


def _add_high(numbers: Bytes, packed: Bytes, chosen: NDArray[np.intp], parameters: Parameters) -> None:
    """Add the high bits of the chosen groups to the numbers `[16, groups]`."""
    if parameters.high_bits and chosen.size:
        values = unpack(packed, parameters.high_bits, GROUP * chosen.size).reshape(GROUP, -1)
        numbers[:, chosen] |= values << np.uint8(parameters.low_bits)


def _raw_parts(fixed: Bytes, shape: BlockShape, layout: FloatFormat) -> Bytes:
    """Return the raw regions of all blocks, each region block-major."""
    raw = fixed[:, : shape.raw]
    if layout.num_bytes == 2:
        return np.ascontiguousarray(raw).reshape(-1)
    first = 2 * shape.num_elements
    return np.concatenate([raw[:, :first].reshape(-1), raw[:, first:].reshape(-1)])
