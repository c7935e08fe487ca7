"""Weights of products in the storage that this machine's CPU multiplies fastest, the numbers unchanged.

*half*: float32 rows times a weight stored in 16 bits, every sum in float32; half of the memory is read, and a
row's result does not depend on the rows beside it. Only where each number of the weight is exact in float16,
as such or after one power of two for the whole weight (bfloat16 has fewer digits and more range).
*blocked*: the weight in the dtype and blocked layout of the CPU's own library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]
"""Takes rows `[..., in]`, returns `[..., out]`."""

_BLOCKED_DTYPES: Final = (torch.float32, torch.bfloat16)
_HIGHEST: Final = 15
"""Exponent of the largest power of two in float16."""
_LONGEST: Final = 2048
"""Columns that are summed in one go: one after the other, so that a longer sum would lose digits."""


def half(weight: Tensor, bias: Tensor | None) -> Product | None:
    """Store a float32 weight in 16 bits."""
    if weight.device.type != "cpu" or weight.dtype is not torch.float32 or not multiplies_half():
        return None
    shift = exact_shift(weight)
    return None if shift is None else _half(weight, bias, shift)


def blocked(weight: Tensor, bias: Tensor | None) -> Product | None:
    """Store a weight in the blocked layout."""
    if weight.device.type != "cpu" or not multiplies_blocked(weight.dtype):
        return None
    return _blocked(weight, bias)


def exact_shift(weight: Tensor) -> int | None:
    """Return the power of two that makes every number of a weight exact in float16, None without one."""
    if torch.equal(weight.half().float(), weight):
        return 0
    largest = float(weight.abs().amax())
    if not 0 < largest < torch.inf:
        return None
    shift = _HIGHEST - int(torch.tensor(largest).frexp().exponent) + 1
    scaled = weight * 2.0**shift
    return shift if torch.equal(scaled.half().float() * 2.0**-shift, weight) else None


def _half(weight: Tensor, bias: Tensor | None, shift: int) -> Product:
    scaled = weight * 2.0**shift if shift else weight
    inside = bias if shift == 0 else None
    with torch.inference_mode(mode=False), torch.no_grad():
        parts = [
            torch.ops.quantized.linear_prepack_fp16(part.contiguous(), None if number else inside)
            for number, part in enumerate(_pieces(scaled))
        ]
    if shift == 0 and len(parts) == 1:
        packed, multiply = parts[0], _multiply_half()
        return lambda rows: multiply(rows, packed)

    def product(rows: Tensor) -> Tensor:
        total = _summed(rows, parts)
        if shift:
            total.mul_(2.0**-shift)
        return total if bias is None or bias is inside else total.add_(bias)

    return product


def _multiply_half() -> Callable[[Tensor, object], Tensor]:
    """Return the product; torch's own wrapper around it takes as long as the product of a small model."""
    overload = torch.ops.quantized.linear_dynamic_fp16.default
    found: Callable[[Tensor, object], Tensor] = getattr(overload, "_op", overload)
    return found


def _summed(rows: Tensor, parts: Sequence[object]) -> Tensor:
    """Return the sum of the products of pieces of rows, `_LONGEST` columns each."""
    multiply = _multiply_half()
    pieces = zip(_pieces(rows), parts, strict=True)
    total: Tensor = multiply(*next(pieces))
    for piece, part in pieces:
        total += multiply(piece, part)
    return total


def _pieces(columns: Tensor) -> Sequence[Tensor]:
    """Return pieces of rows, at most `_LONGEST` columns each."""
    return columns.tensor_split(tuple(range(_LONGEST, columns.shape[-1], _LONGEST)), dim=-1)


def _blocked(weight: Tensor, bias: Tensor | None) -> Product:
    with torch.inference_mode(mode=False), torch.no_grad():
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())  # noqa: SLF001
    multiply = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001  # what torch's own compiler calls
    return lambda rows: multiply(rows, packed, bias, "none", [], "")


@lru_cache(maxsize=1)
def multiplies_half() -> bool:
    """Return whether this build of torch multiplies 16-bit weights, and the product is what it should be."""
    return _is_right(lambda weight: _half(weight, None, 1), torch.float32)


@lru_cache(maxsize=8)
def multiplies_blocked(dtype: torch.dtype) -> bool:
    """Return whether torch has the blocked product on this machine, and it computes what it should."""
    if dtype not in _BLOCKED_DTYPES or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return _is_right(lambda weight: _blocked(weight, None), dtype)


def _is_right(store: Callable[[Tensor], Product], dtype: torch.dtype) -> bool:
    weight = torch.arange(24, dtype=dtype).view(4, 6) % 5  # small integers: exact in any dtype
    rows = torch.arange(18, dtype=dtype).view(3, 6) % 7
    try:
        product = store(weight)(rows)
    except (AttributeError, NotImplementedError, RuntimeError):
        return False  # a build or release of torch without it is served by the next storage
    return torch.equal(product, rows @ weight.t())
