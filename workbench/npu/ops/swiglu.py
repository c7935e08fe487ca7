"""Twin of `npu_swiglu`."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.npu.contracts.swiglu import check_swiglu


def npu_swiglu(input: Tensor, dim: int = -1) -> Tensor:  # noqa: A002  # schema name
    """Return silu(first half) * second half along `dim`, computed in float32 and rounded once.

    Args:
        input: Gate and up values behind each other along `dim`, an even size.
        dim: The axis to split.

    Raises:
        ContractError: when the call breaks a rule.
    """
    check_swiglu(input, dim)
    gate, up = input.float().chunk(2, dim)
    return (gate * torch.sigmoid(gate) * up).to(input.dtype)
