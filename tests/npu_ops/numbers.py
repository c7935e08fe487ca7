"""Numbers and the one tolerance that the smaller emulations share."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.npu_ops.truth import UNIT

DTYPES = [torch.bfloat16, torch.float16, torch.float32]
SLACK = 2.0**-20
"""Relative error of a dozen float32 operations in a row."""


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def assert_rounded(result: Tensor, exact: Tensor, roundings: int = 1) -> None:
    """Assert that `result` is `exact` (float64) after that many roundings, and float32 work before."""
    tiny = 2.0**-24 if result.dtype is torch.float16 else 2.0**-100  # half a step among subnormals, and a bit
    allowed = (roundings * UNIT[result.dtype] * 1.01 + SLACK) * exact.abs() + tiny
    error = (result.double() - exact).abs()
    assert bool((error <= allowed).all()), f"{float((error / allowed).max()):.2f} of the allowance"
