"""What the cases of several operators share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from workbench.kernels.calls import LEGAL
from workbench.kernels.kernel import Trial

HALVES: Final = (torch.bfloat16, torch.float16)
DTYPES: Final = (*HALVES, torch.float32)


def named(dtype: torch.dtype) -> str:
    """Return a dtype's short name."""
    return {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}[dtype]


def legal_cases(operator: str) -> Iterator[Trial]:
    """Yield the operator's legal calls of the contract tests as cases."""
    for form, (name, build) in LEGAL.items():
        if name == operator:
            yield Trial(f"legal-{form}", lambda _, build=build: build(), form="dynamic")  # type: ignore[misc]  # bound


def every_second(tensor: Tensor) -> Tensor:
    """Return a view of the same shape along whose last axis every second element of the memory is skipped."""
    wide = torch.zeros(*tensor.shape[:-1], 2 * tensor.shape[-1], dtype=tensor.dtype)
    view = wide[..., ::2]
    view.copy_(tensor)
    return view


def poked(tensor: Tensor, *values: float) -> Tensor:
    """Write values at places spread over a tensor, the last element among them; return it."""
    flat = tensor.view(-1)
    for number, value in enumerate(values):
        flat[-1 - number * (flat.numel() // (len(values) + 1))] = value
    return tensor


def rms(terms: Tensor, dim: int = -1) -> Tensor:
    """Return the root of the sum of squares along an axis."""
    return terms.square().sum(dim).sqrt()
