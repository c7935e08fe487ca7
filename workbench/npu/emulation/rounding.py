"""Roundings that the kernels do and torch does not."""

from __future__ import annotations

import torch
from torch import Tensor


def cast_like_kernel(exact: Tensor, dtype: torch.dtype) -> Tensor:
    """Cast float32 results as the attention kernels store them.

    bf16 rounds to nearest even; fp16 rounds halfway cases away from zero; float32 stays.

    Args:
        exact: float32 values.
        dtype: float32, float16 or bfloat16.
    """
    return half_away(exact) if dtype is torch.float16 else exact.to(dtype)


def half_away(exact: Tensor) -> Tensor:
    """Round float32 to float16, halfway cases away from zero.

    torch rounds halfway cases to even, so only values exactly between a kept half and the next one of larger
    magnitude differ; the bit pattern of that one is the kept one plus 1.
    """
    kept = exact.half()
    further = (kept.view(torch.int16) + 1).view(torch.float16)
    middle = (kept.float() + further.float()) / 2  # exact: both have 11 bits
    return torch.where(exact == middle, further, kept)
