"""Contracts of `npu_rms_norm`, `npu_add_rms_norm` and `npu_add_rms_norm_v2`."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from workbench.npu.contracts.rules import UNSUPPORTED, Rule, catalogue, need
from workbench.npu.contracts.tensors import FLOATS, overlap

RMS: Final = "npu_rms_norm"
ADD: Final = "npu_add_rms_norm"
_PAGE: Final = "op-plugin page of npu_rms_norm"
_ADD_PAGE: Final = "op-plugin page of npu_add_rms_norm"

PAIRS: Final = {
    (torch.float16, torch.float16),
    (torch.bfloat16, torch.bfloat16),
    (torch.float32, torch.float32),
    (torch.float16, torch.float32),
    (torch.bfloat16, torch.float32),
}
"""Dtypes of (input, gamma) that the kernel has."""

RMS_DTYPE = Rule("NPU-RMS-DTYPE", RMS, "input", "float16, bfloat16 or float32", _PAGE, UNSUPPORTED)
RMS_PAIR = Rule(
    "NPU-RMS-DTYPE-PAIR",
    RMS,
    "gamma",
    "the input's dtype, or float32 beside a half input",
    _PAGE,
    UNSUPPORTED,
)
RMS_GAMMA = Rule(
    "NPU-RMS-GAMMA-SHAPE",
    RMS,
    "gamma",
    "1 or more axes equal to the last axes of the input",
    _PAGE,
    UNSUPPORTED,
)
RMS_EPSILON = Rule(
    "NPU-RMS-EPSILON",
    RMS,
    "epsilon",
    "a finite number >= 0",
    _PAGE,
    "a negative value can make rows NaN, without an error",
)
ADD_SHAPE = Rule("NPU-ADDRMS-SHAPE", ADD, "x2", "the shape of x1", _ADD_PAGE, UNSUPPORTED)
ADD_DTYPE = Rule(
    "NPU-ADDRMS-DTYPE",
    ADD,
    "x1",
    "one dtype for x1, x2 and gamma: float16, bfloat16 or float32",
    _ADD_PAGE,
    UNSUPPORTED,
)
ADD_GAMMA = Rule(
    "NPU-ADDRMS-GAMMA-SHAPE",
    ADD,
    "gamma",
    "1 or more axes equal to the last axes of x1",
    _ADD_PAGE,
    UNSUPPORTED,
)
ADD_EMPTY = Rule("NPU-ADDRMS-EMPTY", ADD, "x1", "at least one element", _ADD_PAGE, UNSUPPORTED)
ADD_EPSILON = Rule(
    "NPU-ADDRMS-EPSILON",
    ADD,
    "epsilon",
    "a finite number >= 0",
    _ADD_PAGE,
    "a negative value can make rows NaN, without an error",
)
ADD_ALIAS = Rule(
    "NPU-ADDRMS-ALIAS",
    f"{ADD}_v2",
    "x2",
    "memory apart from x1: both are written in place",
    "schema of npu_add_rms_norm_v2: Tensor(a!) x1, Tensor(b!) x2",
    "one result overwrites the other",
)

RULES = catalogue(globals())


def check_rms_norm(input: Tensor, gamma: Tensor, epsilon: float = 1e-6) -> None:  # noqa: A002  # schema name
    """Check one call of `npu_rms_norm`.

    Raises:
        ContractError: naming the rule.
    """
    need(input.dtype in FLOATS, RMS_DTYPE, input.dtype)
    need((input.dtype, gamma.dtype) in PAIRS, RMS_PAIR, gamma.dtype)
    need(is_suffix(gamma, input), RMS_GAMMA, gamma)
    need(is_epsilon(epsilon), RMS_EPSILON, epsilon)


def check_add_rms_norm(x1: Tensor, x2: Tensor, gamma: Tensor, epsilon: float = 1e-6) -> None:
    """Check one call of `npu_add_rms_norm`.

    Raises:
        ContractError: naming the rule.
    """
    _check_add(x1, x2, gamma, epsilon, ADD)


def check_add_rms_norm_v2(x1: Tensor, x2: Tensor, gamma: Tensor, epsilon: float = 1e-6) -> None:
    """Check one call of `npu_add_rms_norm_v2`, which writes both inputs.

    Raises:
        ContractError: naming the rule.
    """
    _check_add(x1, x2, gamma, epsilon, f"{ADD}_v2")
    need(not overlap(x1, x2), ADD_ALIAS, "memory shared with x1")


def _check_add(x1: Tensor, x2: Tensor, gamma: Tensor, epsilon: float, operator: str) -> None:
    """Check what both forms share."""
    need(x1.shape == x2.shape, ADD_SHAPE, x2, operator=operator)
    one = x1.dtype is x2.dtype and x1.dtype is gamma.dtype and x1.dtype in FLOATS
    need(one, ADD_DTYPE, [str(t.dtype) for t in (x1, x2, gamma)], operator=operator)
    need(x1.numel() > 0, ADD_EMPTY, x1, operator=operator)
    need(is_suffix(gamma, x1), ADD_GAMMA, gamma, operator=operator)
    need(is_epsilon(epsilon), ADD_EPSILON, epsilon, operator=operator)


def is_suffix(gamma: Tensor, normed: Tensor) -> bool:
    """Whether gamma's shape is the end of the normed tensor's."""
    return 0 < gamma.dim() <= normed.dim() and gamma.shape == normed.shape[normed.dim() - gamma.dim() :]


def is_epsilon(epsilon: float) -> bool:
    """Whether epsilon is finite and not negative."""
    return 0.0 <= epsilon < float("inf")
