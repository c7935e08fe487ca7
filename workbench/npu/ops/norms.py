"""Twins of the RMS norms, with the roundings that tell them apart.

`npu_rms_norm` rounds once, after gamma. `npu_add_rms_norm` rounds before gamma too, and takes its statistics
from the rounded sum in fp16 but from the unrounded one in bf16: it need not equal an add followed by
`npu_rms_norm` bit for bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.npu.contracts.norms import check_add_rms_norm, check_add_rms_norm_v2, check_rms_norm


def npu_rms_norm(input: Tensor, gamma: Tensor, epsilon: float = 1e-6) -> tuple[Tensor, Tensor]:  # noqa: A002
    """Return input / rms(input) * gamma, computed in float32 and rounded once.

    Args:
        input: [..., *gamma.shape].
        gamma: Weights; float32 is allowed beside a half input.
        epsilon: Added to the mean square.

    Returns:
        y: the input's shape and dtype.
        rstd: float32, the normed axes kept as 1.

    Raises:
        ContractError: when the call breaks a rule.
    """
    check_rms_norm(input, gamma, epsilon)
    exact = input.float()
    rstd = reciprocal_rms(exact, gamma.dim(), epsilon)
    return (exact * rstd * gamma.float()).to(input.dtype), rstd


def npu_add_rms_norm(
    x1: Tensor, x2: Tensor, gamma: Tensor, epsilon: float = 1e-6
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (y, rstd, x1 + x2), y rounded before and after gamma.

    Raises:
        ContractError: when the call breaks a rule.
    """
    check_add_rms_norm(x1, x2, gamma, epsilon)
    return add_and_norm(x1, x2, gamma, epsilon)


def npu_add_rms_norm_v2(x1: Tensor, x2: Tensor, gamma: Tensor, epsilon: float = 1e-6) -> Tensor:
    """Write the sum into x1 and y into x2; return rstd.

    Raises:
        ContractError: when the call breaks a rule.
    """
    check_add_rms_norm_v2(x1, x2, gamma, epsilon)
    y, rstd, total = add_and_norm(x1, x2, gamma, epsilon)
    x1.copy_(total)
    x2.copy_(y)
    return rstd


def add_and_norm(x1: Tensor, x2: Tensor, gamma: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return (y, rstd, sum) of a checked call."""
    exact = x1.float() + x2.float()
    total = exact.to(x1.dtype)
    if x1.dtype is torch.float16:
        exact = total.float()  # the fp16 kernel adds in half and goes on from there
    rstd = reciprocal_rms(exact, gamma.dim(), epsilon)
    normed = (exact * rstd).to(x1.dtype)
    return (normed.float() * gamma.float()).to(x1.dtype), rstd, total


def reciprocal_rms(exact: Tensor, num_axes: int, epsilon: float) -> Tensor:
    """Return float32 1 / sqrt(mean(x^2) + epsilon) over the last `num_axes` axes, kept as 1."""
    return torch.rsqrt(exact.square().mean(tuple(range(-num_axes, 0)), keepdim=True) + epsilon)
