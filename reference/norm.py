"""RMSNorm in float32 or better; cast and then weighted, as in transformers, or rounded once."""

from __future__ import annotations

import torch
from torch import Tensor

from reference.arithmetic import Arithmetic, at_least_float32


def rms_norm(x: Tensor, weight: Tensor, eps: float, arithmetic: Arithmetic) -> Tensor:
    """Return `x / sqrt(mean(x^2) + eps) * weight` over the last axis, in the dtype of `x`."""
    wide = x.to(at_least_float32(x.dtype))
    squares = wide * wide
    order = arithmetic.order(x.shape[-1], x.device)
    if order is not None:
        squares = squares[..., order]
    normed = wide * torch.rsqrt(squares.mean(-1, keepdim=True) + eps)
    if arithmetic.rounds_once:
        return arithmetic.settled(weight * normed, x.dtype)
    return weight * normed.to(x.dtype)
