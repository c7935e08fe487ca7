"""Twins of `npu_weight_quant_batchmatmul` and `npu_convert_weight_to_int4pack`."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from workbench.npu.contracts.quant_matmul import (
    check_convert_weight_to_int4pack,
    check_weight_quant_batchmatmul,
)

NIBBLES: Final = 8
"""int4 values in an int32."""


def npu_convert_weight_to_int4pack(weight: Tensor, inner_k_tiles: int = 0) -> Tensor:
    """Pack groups of 8 int4 values into an int32, the first one in the lowest bits, two's complement.

    Args:
        weight: int32 [..., M], values -8..7, M divisible by 8.
        inner_k_tiles: Not read.

    Returns:
        int32 [..., M / 8].

    Raises:
        ContractError: when the call breaks a rule.
    """
    check_convert_weight_to_int4pack(weight, inner_k_tiles)
    groups = weight.view(*weight.shape[:-1], weight.shape[-1] // NIBBLES, NIBBLES)
    nibbles = (groups.long() & 0xF) << shifts(weight.device)
    return nibbles.sum(-1).to(torch.uint32).view(torch.int32)


def unpack_int4(packed: Tensor) -> Tensor:
    """Undo the packing: int32 [..., M] to int32 [..., 8 * M] of values -8..7."""
    nibbles = (packed.unsqueeze(-1) >> shifts(packed.device).int()) & 0xF
    return (nibbles - ((nibbles & 0x8) << 1)).flatten(-2)


def shifts(device: torch.device) -> Tensor:
    """Return the bit position of each nibble, int64 [8]."""
    return torch.arange(NIBBLES, device=device) * 4


def npu_weight_quant_batchmatmul(  # noqa: PLR0917  # the vendor's schema
    x: Tensor,
    weight: Tensor,
    antiquant_scale: Tensor,
    antiquant_offset: Tensor | None = None,
    quant_scale: Tensor | None = None,
    quant_offset: Tensor | None = None,
    bias: Tensor | None = None,
    antiquant_group_size: int = 0,
    inner_precise: int = 0,
    weight_dtype: int | None = None,
) -> Tensor:
    """Return x @ ((weight + offset) * scale) + bias.

    The dequantised weight is rounded to the dtype of x, which is what the matrix unit takes; sums are
    float32, and the result is rounded once.

    Args:
        x: [M, K].
        weight: int8 [K, N], or int32 holding 8 int4 each; contiguous or a transposed view.
        antiquant_scale: Per tensor, per column or per group of rows; see the contract.
        antiquant_offset: As the scale; added, not subtracted.
        quant_scale: Not covered.
        quant_offset: Not covered.
        bias: [N] or [1, N].
        antiquant_group_size: Rows of K per group, 0 without groups.
        inner_precise: 0 or 1, the same here.
        weight_dtype: Not covered.

    Raises:
        ContractError: when the call breaks a rule.
        NotModelledError: for what is not covered.
    """
    check_weight_quant_batchmatmul(
        x,
        weight,
        antiquant_scale,
        antiquant_offset,
        quant_scale,
        quant_offset,
        bias,
        antiquant_group_size,
        inner_precise,
        weight_dtype,
    )
    values = plain_weight(weight).float()
    if antiquant_offset is not None:
        values = values + by_row(antiquant_offset, antiquant_group_size, len(values))
    values = (values * by_row(antiquant_scale, antiquant_group_size, len(values))).to(x.dtype)
    product = x.float() @ values.float()
    return (product if bias is None else product + bias.float()).to(x.dtype)


def plain_weight(weight: Tensor) -> Tensor:
    """Return the integer weight [K, N]."""
    if weight.dtype is not torch.int32:
        return weight
    return unpack_int4(weight) if weight.is_contiguous() else unpack_int4(weight.t()).t()


def by_row(scale: Tensor, group_size: int, num_rows: int) -> Tensor:
    """Return float32 [1 or K, 1 or N] that broadcasts over the weight."""
    table = scale.float().reshape(-1, scale.shape[-1])
    return table.repeat_interleave(group_size, 0)[:num_rows] if group_size else table
