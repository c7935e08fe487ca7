"""`npu_swiglu`."""

from __future__ import annotations

from functools import partial
from typing import Final

import torch
from torch import Tensor

from workbench.npu.contract import FLOATS, ContractRule, need
from workbench.npu.definition import operator

_rule: Final = partial(ContractRule, operator="npu_swiglu", source="op-plugin page of npu_swiglu")

DTYPE = _rule("NPU-SWIGLU-DTYPE", "input", "float32, float16 or bfloat16")
RANK = _rule("NPU-SWIGLU-RANK", "input", "1 to 8 axes")
DIM = _rule("NPU-SWIGLU-DIM", "dim", "an axis of the input")
EMPTY = _rule("NPU-SWIGLU-EMPTY", "input", "at least one element")
EVEN = _rule("NPU-SWIGLU-EVEN", "input", "an even size on the split axis")
CONTIGUOUS = _rule("NPU-SWIGLU-CONTIGUOUS", "input", "a contiguous tensor", device="undefined")


def check(input: Tensor, dim: int) -> None:  # noqa: A002  # schema name
    """Check one call."""
    need(input.dtype in FLOATS, DTYPE, input.dtype)
    need(1 <= input.dim() <= 8, RANK, input)
    need(-input.dim() <= dim < input.dim(), DIM, dim)
    need(input.numel() > 0, EMPTY, input)
    need(input.shape[dim] % 2 == 0, EVEN, input)
    need(input.is_contiguous(), CONTIGUOUS, f"strided {input.stride()}")


@operator("npu::npu_swiglu", check=check)
def npu_swiglu(input: Tensor, dim: int) -> Tensor:  # noqa: A002  # schema name
    """Return silu(first half) * second half along `dim`, computed in float32 and rounded once.

    Args:
        input: Gate and up values behind each other along `dim`, an even size.
        dim: The axis to split.
    """
    gate, up = input.float().chunk(2, dim)
    return (gate * torch.sigmoid(gate) * up).to(input.dtype)
