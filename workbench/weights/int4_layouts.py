"""int4 weights as four public layouts ship them, and their way to the operands of Ascend's product.

A weight is W `[K, N]`, K the summed axis. Ascend computes `x @ ((q + offset) * scale)` with q from -8 to 7;
the others store u = q + 8 and subtract a zero point z from it, so that offset = 8 - z.

| layout | packed | scale | offset, as shipped |
|---|---|---|---|
| compressed-tensors | `[N, K / 8]` along K | `[N, G]` | z, packed `[ceil(N / 8), G]` along N |
| gptq | `[K / 8, N]` along K | `[G, N]` | z - 1, packed `[G, N / 8]` along N |
| awq | `[K, N / 8]` along N, order 0 2 4 6 1 3 5 7 | `[G, N]` | z, packed as the weight `[G, N / 8]` |
| npu | `[K, N / 8]` along N, two's complement | `[G, N]` | offset, a number like the scale |

G is the number of groups along K, 1 with a scale for each column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracing.errors import UsageError
from workbench.weights.int4 import PER_WORD, Words32, nibbles, pack

Floats = NDArray[Any]
Unsigned = NDArray[np.uint8]
AWQ_ORDER: Final = (0, 2, 4, 6, 1, 3, 5, 7)
"""Which number of eight lies in each place of a word, lowest place first."""
BIAS: Final = 8
"""What is added to a signed number."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """A weight as a layout ships it.

    Attributes:
        packed: int32 words.
        scale: Of each group and column.
        offset: int32 words of zero points, of `npu` numbers like the scale; None where every zero point is 8.
    """

    packed: Words32
    scale: Floats
    offset: NDArray[Any] | None = None


@dataclass(frozen=True, slots=True)
class Int4Layout:
    """How one layout packs.

    Attributes:
        pack_weight, read_weight: u `[K, N]` to words, and back.
        pack_zero, read_zero: z `[G, N]` to words, and back; the number of columns is given.
        scale_by_row: Whether the scale is `[N, G]`.
    """

    pack_weight: Callable[[Unsigned], Words32]
    read_weight: Callable[[Words32], Unsigned]
    pack_zero: Callable[[Unsigned], Words32]
    read_zero: Callable[[Words32, int], Unsigned]
    scale_by_row: bool = False


def _awq(numbers: Unsigned) -> Words32:
    grouped = numbers.reshape(*numbers.shape[:-1], -1, PER_WORD)
    return pack(grouped[..., list(AWQ_ORDER)].reshape(numbers.shape))


def _from_awq(words: Words32) -> Unsigned:
    places = nibbles(words).reshape(*words.shape, PER_WORD)
    found = np.empty_like(places)
    found[..., list(AWQ_ORDER)] = places
    return found.reshape(*words.shape[:-1], -1)


def _along_first(numbers: Unsigned) -> Words32:
    return np.ascontiguousarray(pack(np.ascontiguousarray(numbers.T)).T)


def _from_first(words: Words32) -> Unsigned:
    return nibbles(np.ascontiguousarray(words.T)).T


def _by_row_zero(zero: Unsigned) -> Words32:
    """Pack z `[G, N]` as `[ceil(N / 8), G]`."""
    missing = -zero.shape[1] % PER_WORD
    return _along_first(np.pad(zero.T, ((0, missing), (0, 0))))


LAYOUTS: Final[Mapping[str, Int4Layout]] = {
    "compressed-tensors": Int4Layout(
        lambda numbers: pack(np.ascontiguousarray(numbers.T)),
        lambda words: nibbles(words).T,
        _by_row_zero,
        lambda words, columns: _from_first(words)[:columns].T,
        scale_by_row=True,
    ),
    "gptq": Int4Layout(
        _along_first,
        _from_first,
        lambda zero: pack((zero - np.uint8(1)) & np.uint8(0xF)),
        lambda words, _: nibbles(words) + np.uint8(1),
    ),
    "awq": Int4Layout(_awq, _from_awq, _awq, lambda words, _: _from_awq(words)),
    "npu": Int4Layout(
        lambda numbers: pack(numbers.astype(np.int8) - np.int8(BIAS)),
        lambda words: nibbles(words) ^ np.uint8(BIAS),
        _awq,
        lambda words, _: _from_awq(words),
    ),
}
"""Public layouts by name; `npu` has its offsets as numbers and packs no zero points."""


def ship(layout: str, numbers: Unsigned, scale: Floats, zero: Unsigned | None) -> Shipped:
    """Return a weight as a layout ships it.

    Args:
        layout: One of `LAYOUTS`.
        numbers: u `[K, N]`, 0 to 15.
        scale: `[G, N]`.
        zero: z `[G, N]`, 0 to 15 (of gptq 1 to 16); None where all are 8.
    """
    own = LAYOUTS[layout]
    packed = own.pack_weight(numbers)
    shipped_scale = np.ascontiguousarray(scale.T) if own.scale_by_row else scale
    if zero is None:
        return Shipped(packed, shipped_scale)
    if layout == "npu":
        return Shipped(packed, scale, (BIAS - zero.astype(np.int16)).astype(scale.dtype))
    return Shipped(packed, shipped_scale, own.pack_zero(zero))


def to_npu(layout: str, shipped: Shipped) -> Shipped:
    """Return the operands of Ascend's product: words `[K, N / 8]`, scale and offset `[G, N]`.

    Raises:
        UsageError: An unknown layout, or columns that do not fill words.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"the layout of int4 weights should be one of {', '.join(LAYOUTS)}, got {layout!r}")
    if layout == "npu":
        return shipped
    own = LAYOUTS[layout]
    numbers = own.read_weight(shipped.packed)
    scale = np.ascontiguousarray(shipped.scale.T) if own.scale_by_row else shipped.scale
    words = LAYOUTS["npu"].pack_weight(np.ascontiguousarray(numbers))
    if shipped.offset is None:
        return Shipped(words, scale)
    zero = own.read_zero(shipped.offset, numbers.shape[1]).astype(np.int16)
    return Shipped(words, scale, (BIAS - zero).astype(scale.dtype))


def quantise(
    weight: NDArray[np.float32], group_size: int, *, with_zero: bool
) -> tuple[Unsigned, Floats, Unsigned | None]:
    """Round a weight to the nearest of sixteen steps of each group.

    Args:
        weight: W `[K, N]`.
        group_size: Rows of a group, the last one may be short; 0 for one group.
        with_zero: Give each group a zero point of its own, from 1 to 15; else the steps lie around zero.

    Returns:
        u `[K, N]`, float16 scale `[G, N]`, z `[G, N]` or None.
    """
    rows = group_size or len(weight)
    starts = np.arange(0, len(weight), rows)
    least, most = np.minimum.reduceat(weight, starts), np.maximum.reduceat(weight, starts)
    if with_zero:
        least, most = np.minimum(least, 0), np.maximum(most, 0)
        scale = (most - least) / np.float32(15)
    else:
        scale = np.maximum(-least, most) / np.float32(7.5)
    scale = np.where(scale < np.float32(6.2e-5), np.float32(1), scale).astype(np.float16)
    wide = scale.astype(np.float32)
    zero = np.clip(np.rint(-least / wide), 1, 15) if with_zero else np.full_like(wide, BIAS)
    group = np.arange(len(weight)) // rows
    numbers = np.clip(np.rint(weight / wide[group]) + zero[group], 0, 15).astype(np.uint8)
    return numbers, scale, zero.astype(np.uint8) if with_zero else None
