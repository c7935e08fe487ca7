"""int4 words: eight numbers of four bits in an int32, the first in the lowest bits, two's complement.

This is the layout of Ascend's `npu_convert_weight_to_int4pack`; the operator's emulation and the loader both
pack here.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracing.errors import UsageError

Words32 = NDArray[np.int32]
Numbers = NDArray[np.int8]

PER_WORD: Final = 8
"""Numbers in a word."""
LEAST, MOST = -8, 7
_SHIFTS: Final = np.arange(PER_WORD, dtype=np.uint32) * np.uint32(4)
FRACTAL: Final = (16, 8)
"""Rows and words of a tile of format NZ."""


def pack(numbers: NDArray[Any]) -> Words32:
    """Pack along the last axis; bits beyond the lowest four are dropped, as the device's host code does.

    Args:
        numbers: Integers `[..., M]`, M a multiple of 8.

    Returns:
        int32 `[..., M / 8]`.

    Raises:
        UsageError: M is no multiple of 8.
    """
    if not numbers.ndim or numbers.shape[-1] % PER_WORD:
        raise UsageError(f"int4 words hold {PER_WORD} numbers each, got an axis of {numbers.shape[-1:]}")
    nibbles = (numbers & 0xF).astype(np.uint32).reshape(*numbers.shape[:-1], -1, PER_WORD)
    words: Words32 = np.bitwise_or.reduce(nibbles << _SHIFTS, axis=-1).view(np.int32)
    return words


def nibbles(words: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the four bits of each place, 0 to 15, lowest first: uint8 `[..., 8 * M]` of words `[..., M]`."""
    bits = np.ascontiguousarray(words).view(np.uint32)[..., None] >> _SHIFTS
    return (bits & np.uint32(0xF)).astype(np.uint8).reshape(*words.shape[:-1], -1)


def unpack(words: Words32) -> Numbers:
    """Undo `pack`: int8 `[..., 8 * M]` from -8 to 7."""
    found = nibbles(words).astype(np.int8)
    return (found ^ np.int8(8)) - np.int8(8)


def to_fractal(words: Words32) -> Words32:
    """Lay words `[K, N / 8]` out in format NZ, as they lie in the device's memory.

    Returns:
        int32 `[ceil(N / 64), ceil(K / 16), 16, 8]`, zeros where the weight ends within a tile; word (r, c)
        is at `[c // 8, r // 16, r % 16, c % 8]`.
    """
    rows, columns = words.shape
    down, across = -(-rows // FRACTAL[0]), -(-columns // FRACTAL[1])
    padded = np.zeros((down * FRACTAL[0], across * FRACTAL[1]), np.int32)
    padded[:rows, :columns] = words
    tiles = padded.reshape(down, FRACTAL[0], across, FRACTAL[1])
    return np.ascontiguousarray(tiles.transpose(2, 0, 1, 3))


def from_fractal(tiles: Words32, rows: int, columns: int) -> Words32:
    """Undo `to_fractal`: words `[rows, columns]`."""
    across, down = tiles.shape[:2]
    plain = tiles.transpose(1, 2, 0, 3).reshape(down * FRACTAL[0], across * FRACTAL[1])
    return np.ascontiguousarray(plain[:rows, :columns])
