"""`npu_rms_norm`, `npu_add_rms_norm` and `npu_add_rms_norm_v2`, with the roundings that tell them apart.

`npu_rms_norm` rounds once, after gamma. `npu_add_rms_norm` rounds before gamma too, and takes its statistics
from the rounded sum in fp16 but from the unrounded one in bf16: it need not equal an add followed by
`npu_rms_norm` bit for bit.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import torch
from torch import Tensor

from workbench.npu.contract import FLOATS, HALF, ContractRule, need, overlap
from workbench.npu.definition import operator

_rms: Final = partial(ContractRule, operator="npu_rms_norm", source="op-plugin page of npu_rms_norm")
_add: Final = partial(ContractRule, operator="npu_add_rms_norm", source="op-plugin page of npu_add_rms_norm")
_NEGATIVE: Final = "a negative value can make rows NaN, without an error"

RMS_DTYPE = _rms("NPU-RMS-DTYPE", "input", "float16, bfloat16 or float32")
RMS_PAIR = _rms("NPU-RMS-DTYPE-PAIR", "gamma", "the input's dtype, or float32 beside a half input")
RMS_GAMMA = _rms("NPU-RMS-GAMMA-SHAPE", "gamma", "1 or more axes equal to the last axes of the input")
RMS_EPSILON = _rms("NPU-RMS-EPSILON", "epsilon", "a finite number >= 0", device=_NEGATIVE)
ADD_SHAPE = _add("NPU-ADDRMS-SHAPE", "x2", "the shape of x1")
ADD_DTYPE = _add("NPU-ADDRMS-DTYPE", "x1", "one dtype for x1, x2 and gamma: float16, bfloat16 or float32")
ADD_GAMMA = _add("NPU-ADDRMS-GAMMA-SHAPE", "gamma", "1 or more axes equal to the last axes of x1")
ADD_EMPTY = _add("NPU-ADDRMS-EMPTY", "x1", "at least one element")
ADD_EPSILON = _add("NPU-ADDRMS-EPSILON", "epsilon", "a finite number >= 0", device=_NEGATIVE)
ADD_ALIAS = _add(
    "NPU-ADDRMS-ALIAS",
    "x2",
    "memory apart from x1: both are written in place",
    source="schema of npu_add_rms_norm_v2: Tensor(a!) x1, Tensor(b!) x2",
    operator="npu_add_rms_norm_v2",
    device="one result overwrites the other",
)


def check_rms(input: Tensor, gamma: Tensor, epsilon: float) -> None:  # noqa: A002  # schema name
    """Check one call of `npu_rms_norm`."""
    need(input.dtype in FLOATS, RMS_DTYPE, input.dtype)
    fits = gamma.dtype is input.dtype or (gamma.dtype is torch.float32 and input.dtype in HALF)
    need(fits, RMS_PAIR, gamma.dtype)
    need(is_suffix(gamma, input), RMS_GAMMA, gamma)
    need(0.0 <= epsilon < float("inf"), RMS_EPSILON, epsilon)


def check_add(x1: Tensor, x2: Tensor, gamma: Tensor, epsilon: float) -> None:
    """Check one call of `npu_add_rms_norm`."""
    need(x1.shape == x2.shape, ADD_SHAPE, x2)
    one = x1.dtype is x2.dtype and x1.dtype is gamma.dtype and x1.dtype in FLOATS
    need(one, ADD_DTYPE, [str(t.dtype) for t in (x1, x2, gamma)])
    need(x1.numel() > 0, ADD_EMPTY, x1)
    need(is_suffix(gamma, x1), ADD_GAMMA, gamma)
    need(0.0 <= epsilon < float("inf"), ADD_EPSILON, epsilon)


def check_add_v2(x1: Tensor, x2: Tensor, gamma: Tensor, epsilon: float) -> None:
    """Check one call of `npu_add_rms_norm_v2`, which writes both inputs."""
    check_add(x1, x2, gamma, epsilon)
    need(not overlap(x1, x2), ADD_ALIAS, "memory shared with x1")


@operator("npu::npu_rms_norm", check=check_rms)
def npu_rms_norm(input: Tensor, gamma: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:  # noqa: A002
    """Return input / rms(input) * gamma, computed in float32 and rounded once.

    Args:
        input: [..., *gamma.shape].
        gamma: Weights; float32 is allowed with a half input.
        epsilon: Added to the mean square.

    Returns:
        y: the input's shape and dtype.
        rstd: float32, the normed axes kept as 1.
    """
    exact = input.float()
    rstd = reciprocal_rms(exact, gamma.dim(), epsilon)
    return (exact * rstd * gamma.float()).to(input.dtype), rstd


@operator("npu::npu_add_rms_norm", check=check_add)
def npu_add_rms_norm(x1: Tensor, x2: Tensor, gamma: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return (y, rstd, x1 + x2), y rounded before and after gamma."""
    return add_and_norm(x1, x2, gamma, epsilon)


@operator("npu::npu_add_rms_norm_v2", check=check_add_v2)
def npu_add_rms_norm_v2(x1: Tensor, x2: Tensor, gamma: Tensor, epsilon: float) -> Tensor:
    """Write the sum into x1 and y into x2; return rstd."""
    y, rstd, total = add_and_norm(x1, x2, gamma, epsilon)
    x1.copy_(total)
    x2.copy_(y)
    return rstd


def add_and_norm(x1: Tensor, x2: Tensor, gamma: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return (y, rstd, sum) of a checked call."""
    exact = x1.float() + x2.float()
    total = exact.to(x1.dtype)
    if x1.dtype is torch.float16:
        exact = total.float()  # the fp16 kernel adds in half and takes its statistics from that
    rstd = reciprocal_rms(exact, gamma.dim(), epsilon)
    normed = (exact * rstd).to(x1.dtype)
    return (normed.float() * gamma.float()).to(x1.dtype), rstd, total


def reciprocal_rms(exact: Tensor, num_axes: int, epsilon: float) -> Tensor:
    """Return float32 1 / sqrt(mean(x^2) + epsilon) over the last `num_axes` axes, kept as 1."""
    return torch.rsqrt(exact.square().mean(tuple(range(-num_axes, 0)), keepdim=True) + epsilon)


def is_suffix(gamma: Tensor, normed: Tensor) -> bool:
    """Whether gamma's shape is the end of the normed tensor's."""
    return 0 < gamma.dim() <= normed.dim() and gamma.shape == normed.shape[normed.dim() - gamma.dim() :]
