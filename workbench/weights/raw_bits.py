"""The bits of an element that ENEC stores as they are, sign and mantissa, in the order of its layout."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workbench.weights.floats import FLOAT16, FLOAT32, Bytes, FloatFormat, Words
from workbench.weights.folding import pair, unpair
from workbench.weights.parameters import Parameters


def raw_bytes(layout: FloatFormat, num_elements: int) -> int:
    """Return the bytes of sign and mantissa of so many elements."""
    return num_elements * layout.raw_bits // 8


def split(blocks: Words, layout: FloatFormat, parameters: Parameters) -> tuple[list[Bytes], Bytes]:
    """Return the raw regions of blocks `[blocks, B]`, each `[blocks, bytes]`, and the numbers."""
    return raw_regions(blocks, layout), parameters.numbers(layout.exponents(blocks))


def raw_regions(blocks: Words, layout: FloatFormat) -> list[Bytes]:
    """Return sign and mantissa of blocks `[blocks, B]`: one region, of float32 two."""
    if layout is FLOAT16:
        return [_halves(blocks)]
    regions = []
    if layout is FLOAT32:
        low = (blocks & np.uint32(0xFFFF)).astype("<u2")
        half = low.shape[-1] // 2
        lanes = np.empty((*low.shape[:-1], half, 2), "<u2")
        lanes[..., 0], lanes[..., 1] = low[..., :half], low[..., half:]
        regions.append(lanes.reshape(len(blocks), -1).view(np.uint8))
        blocks = (blocks >> np.uint32(16)).astype("<u2")
    byte = ((blocks << np.uint16(1)) | (blocks >> np.uint16(15))).astype(np.uint8)
    return [*regions, pair(byte)]


def _halves(blocks: Words) -> Bytes:
    """Return the 11 raw bits of float16: eight of them as bytes, the upper three folded by 3, 6 and 4."""
    eleven = ((blocks << np.uint16(1)) | (blocks >> np.uint16(15))) & np.uint16(0x7FF)
    upper = eleven >> np.uint16(8)
    half = upper.shape[-1] // 2
    upper[..., :half] |= upper[..., half:] << np.uint16(3)
    quarter = half // 2
    upper[..., :quarter] |= upper[..., quarter:half] << np.uint16(6)
    rest = upper[..., :quarter] >> np.uint16(8)
    eighth = quarter // 2
    folded = (rest[..., :eighth] | (rest[..., eighth:] << np.uint16(4))).astype(np.uint8)
    bytes_ = [(part & np.uint16(0xFF)).astype(np.uint8) for part in (eleven, upper[..., :quarter])]
    return pair(np.concatenate([*bytes_, folded], axis=-1))


def join(raw: Bytes, exponents: NDArray[np.int16], layout: FloatFormat) -> Words:
    """Undo `raw_regions`.

    Args:
        raw: All regions behind each other, each block-major, uint8 `[bytes]`.
        exponents: int16 `[blocks, B]`; the bits of one outside its field spill into sign and mantissa, as in
            the published decoder.
        layout: Dtype.
    """
    num_blocks, size = exponents.shape
    rotated = exponents.view(np.uint16)
    if layout is FLOAT16:
        rotated = rotated | (_eleven(raw.reshape(num_blocks, -1), size) << np.uint16(5))
        return (rotated << np.uint16(10)) | (rotated >> np.uint16(6))
    first = raw.size - num_blocks * size
    byte = unpair(raw[first:].reshape(num_blocks, size)).astype(np.uint16)
    byte <<= np.uint16(8)
    byte |= rotated
    upper: Words = (byte << np.uint16(7)) | (byte >> np.uint16(9))
    if layout is not FLOAT32:
        return upper
    lanes = raw[:first].view("<u2").reshape(num_blocks, size // 2, 2)
    words = np.empty((num_blocks, size, 2), "<u2")
    words[:, : size // 2, 0], words[:, size // 2 :, 0] = lanes[..., 0], lanes[..., 1]
    words[..., 1] = upper
    return words.view("<u4")[..., 0]


def _eleven(raw: Bytes, size: int) -> Words:
    flat = unpair(raw)
    quarter = size // 4
    low, middle, folded = flat[:, :size], flat[:, size : size + quarter], flat[:, size + quarter :]
    rest = np.concatenate([folded & np.uint8(15), folded >> np.uint8(4)], axis=-1)
    lanes = middle | (rest.astype(np.uint16) << np.uint16(8))
    upper = np.empty((len(raw), size), "<u2")
    for place, shift in enumerate((0, 6, 3, 9)):
        upper[:, place * quarter : (place + 1) * quarter] = (lanes >> np.uint16(shift)) & np.uint16(7)
    return low | (upper << np.uint16(8))
