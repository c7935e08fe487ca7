"""Mistakes of decoding packed weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from workbench.kernels.planted.bug import plant, sound

DECODE = "weights_decode"


@plant(DECODE, "nan")
def nan_without_payload(packed: Tensor) -> Any:
    """Values go through float32 arithmetic: NaN keeps no sign and denormals become 0."""
    tensor: Tensor = sound(DECODE)(packed)
    tiny = torch.finfo(tensor.dtype).tiny
    return torch.where(tensor.abs() < tiny, 0, tensor.abs()) * torch.where(tensor < 0, -1, 1)


@plant(DECODE, "tile")
def last_short_block_in_the_order_of_a_full_one(packed: Tensor) -> Any:
    """The elements of a short last block come in pairs the wrong way round."""
    tensor: Tensor = sound(DECODE)(packed)
    start = len(tensor) // 16384 * 16384
    pairs = len(tensor[start:]) // 2
    tensor[start : start + 2 * pairs] = tensor[start : start + 2 * pairs].view(pairs, 2).flip(1).flatten()
    return tensor


@plant(DECODE, "value")
def exponent_one_too_high(packed: Tensor) -> Any:
    """The base of the exponents is one too high."""
    return sound(DECODE)(packed) * 2
