"""Packing of small numbers by folding halves: the two primitives of ENEC's layout, and their inverses.

Every function works on the last axis, so that many blocks are packed at once. All bytes are those of
little-endian 16-bit words.
"""

from __future__ import annotations

import numpy as np

from workbench.weights.floats import Bytes

PACKED_BITS = (0, 1, 2, 3, 4)
"""Widths that can be packed."""
_TRIPLE_SHIFTS = (0, 6, 3, 9)
"""Place in a lane of 12 bits of each quarter of the values: halves are folded by 3, then by 6."""


def pair(values: Bytes) -> Bytes:
    """Return bytes `[..., 2h]` as words of which word j holds values j and j + h, low byte first."""
    half = values.shape[-1] // 2
    out = np.empty_like(values)
    out[..., 0::2] = values[..., :half]
    out[..., 1::2] = values[..., half:]
    return out


def unpair(paired: Bytes) -> Bytes:
    """Undo `pair`."""
    half = paired.shape[-1] // 2
    out = np.empty_like(paired)
    out[..., :half] = paired[..., 0::2]
    out[..., half:] = paired[..., 1::2]
    return out


def pack(values: Bytes, num_bits: int) -> Bytes:
    """Pack numbers below `2 ** num_bits`.

    Args:
        values: uint8 `[..., V]`, V a multiple of 16.
        num_bits: One of `PACKED_BITS`.

    Returns:
        uint8 `[..., V * num_bits / 8]`.
    """
    if num_bits == 0:
        return values[..., :0]
    if num_bits == 3:
        return _pack_triples(values)
    shift = num_bits
    while shift < 8:
        half = values.shape[-1] // 2
        values = values[..., :half] | (values[..., half:] << np.uint8(shift))
        shift *= 2
    return pair(values)


def unpack(packed: Bytes, num_bits: int, num_values: int) -> Bytes:
    """Undo `pack`: uint8 `[..., num_values]`."""
    if num_bits == 0:
        return np.zeros((*packed.shape[:-1], num_values), np.uint8)
    if num_bits == 3:
        return _unpack_triples(packed, num_values)
    values = unpair(packed)
    shift = 4
    while shift >= num_bits:
        values = _unfolded(values, shift)
        shift //= 2
    return values


def _unfolded(values: Bytes, shift: int) -> Bytes:
    """Undo one fold of bytes: the lower bits first, then what was shifted."""
    half = values.shape[-1]
    out = np.empty((*values.shape[:-1], 2 * half), np.uint8)
    np.bitwise_and(values, np.uint8((1 << shift) - 1), out=out[..., :half])
    np.right_shift(values, np.uint8(shift), out=out[..., half:])
    return out


def _pack_triples(values: Bytes) -> Bytes:
    quarter = values.shape[-1] // 4
    lanes = values[..., :quarter].astype(np.uint16)
    for place, shift in enumerate(_TRIPLE_SHIFTS[1:], 1):
        part = values[..., place * quarter : (place + 1) * quarter].astype(np.uint16)
        lanes |= part << np.uint16(shift)
    low, high = (lanes & np.uint16(255)).astype(np.uint8), (lanes >> np.uint16(8)).astype(np.uint8)
    half = quarter // 2
    folded = high[..., :half] | (high[..., half:] << np.uint8(4))
    return pair(np.concatenate([low, folded], axis=-1))


def _unpack_triples(packed: Bytes, num_values: int) -> Bytes:
    quarter = num_values // 4
    flat = unpair(packed)
    low, high = flat[..., :quarter], _unfolded(flat[..., quarter:], 4)
    lanes = low | (high.astype(np.uint16) << np.uint16(8))
    out = np.empty((*packed.shape[:-1], num_values), np.uint8)
    for place, shift in enumerate(_TRIPLE_SHIFTS):
        part = (lanes >> np.uint16(shift)).astype(np.uint8)
        np.bitwise_and(part, np.uint8(7), out=out[..., place * quarter : (place + 1) * quarter])
    return out
