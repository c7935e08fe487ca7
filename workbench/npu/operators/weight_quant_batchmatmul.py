"""`npu_weight_quant_batchmatmul`, and `npu_convert_weight_to_int4pack` which packs its int4 weights."""

from __future__ import annotations

from functools import partial
from typing import Final

import torch
from torch import Tensor

from workbench.npu.contract import ContractRule, in_range, is_half_or_relaxed, need, shown
from workbench.npu.definition import not_modelled, operator
from workbench.npu.formats import FRACTAL_NZ, format_of, tagged
from workbench.weights.int4 import PER_WORD, pack, to_fractal

MATMUL: Final = "npu_weight_quant_batchmatmul"
PACK: Final = "npu_convert_weight_to_int4pack"
_rule: Final = partial(ContractRule, operator=MATMUL, source="op-plugin page of npu_weight_quant_batchmatmul")
_pack: Final = partial(
    ContractRule, operator=PACK, source="host code of npu_convert_weight_to_int4pack, op-plugin"
)
COVERS: Final = "int8 and int4 weights with float scales and float outputs"
LARGEST: Final = 65535
"""Largest K and N."""
NZ_GROUPS: Final = (64, 128)

X_DTYPE = _rule("NPU-WQ-X-DTYPE", "x", "float16 or bfloat16 (float32 only off the device)")
X_RANK = _rule("NPU-WQ-X-RANK", "x", "2 axes (M, K)")
EMPTY = _rule("NPU-WQ-EMPTY", "x", "no empty tensors")
WEIGHT_DTYPE = _rule("NPU-WQ-WEIGHT-DTYPE", "weight", "int8, or int32 with 8 int4 each")
WEIGHT_STRIDES = _rule(
    "NPU-WQ-WEIGHT-STRIDES",
    "weight",
    "2 axes, contiguous (K, N) or the transposed view of a contiguous (N, K)",
    source="aclnnWeightQuantBatchMatmulV2 page",
)
INNER_SIZE = _rule("NPU-WQ-K", "weight", "the K of x")
LIMITS = _rule("NPU-WQ-LIMITS", "weight", "K and N from 1 to 65535")
SCALE_DTYPE = _rule("NPU-WQ-SCALE-DTYPE", "antiquant_scale", "the dtype of x")
SCALE_SHAPE = _rule(
    "NPU-WQ-SCALE-SHAPE",
    "antiquant_scale",
    "(1,) or (1, 1), (N,) or (1, N), or (ceil(K / group), N) per group",
)
OFFSET = _rule("NPU-WQ-OFFSET", "antiquant_offset", "shape and dtype of antiquant_scale")
GROUP = _rule("NPU-WQ-GROUP", "antiquant_group_size", "0, or a multiple of 32 from 32 to K - 1")
BIAS_DTYPE = _rule("NPU-WQ-BIAS-DTYPE", "bias", "float16 beside float16, float32 beside bfloat16")
BIAS_SHAPE = _rule("NPU-WQ-BIAS-SHAPE", "bias", "contiguous (N,) or (1, N)")
INNER = _rule("NPU-WQ-INNER-PRECISE", "inner_precise", "0 or 1")
_nz: Final = partial(_rule, source="aclnnWeightQuantBatchMatmulV2 page, FRACTAL_NZ")
NZ_GROUP = _nz(
    "NPU-WQ-NZ-GROUP", "antiquant_group_size", "64 or 128 for int4 words in FRACTAL_NZ, or 0 without groups"
)
NZ_SHAPE = _nz("NPU-WQ-NZ-SHAPE", "weight", "K divisible by the group and N by 64 in FRACTAL_NZ with groups")
NZ_TRANSPOSED = _nz(
    "NPU-WQ-NZ-TRANSPOSED", "weight", "not transposed with groups, transposed with a scale for each column"
)
PACK_DTYPE = _pack("NPU-INT4-DTYPE", "weight", "int32")
PACK_RANK = _pack("NPU-INT4-RANK", "weight", "2 or 3 axes")
PACK_CONTIGUOUS = _pack("NPU-INT4-CONTIGUOUS", "weight", "a contiguous tensor")
PACK_MULTIPLE = _pack("NPU-INT4-MULTIPLE", "weight", "a last axis divisible by 8")
PACK_RANGE = _pack(
    "NPU-INT4-RANGE", "weight", "values from -8 to 7", device="drops all but the lowest four bits", runs=True
)


def check(
    *,
    x: Tensor,
    weight: Tensor,
    antiquant_scale: Tensor,
    antiquant_offset: Tensor | None,
    bias: Tensor | None,
    antiquant_group_size: int,
    inner_precise: int,
) -> None:
    """Check one call of the product."""
    if antiquant_scale.dtype is torch.int64:
        not_modelled(MATMUL, "int64 antiquant_scale", COVERS)
    need(is_half_or_relaxed(x), X_DTYPE, x.dtype)
    need(x.dim() == 2, X_RANK, x)
    need(weight.dtype in {torch.int8, torch.int32}, WEIGHT_DTYPE, weight.dtype)
    plain = weight.dim() == 2 and (weight.is_contiguous() or weight.t().is_contiguous())
    need(plain, WEIGHT_STRIDES, f"{shown(weight)} strided {weight.stride()}")
    need(x.numel() > 0 and weight.numel() > 0, EMPTY, f"{shown(x)} and {shown(weight)}")
    inner, columns = logical_shape(weight)
    need(inner == x.shape[1], INNER_SIZE, f"K = {inner} with {x.shape[1]}")
    need(inner <= LARGEST and columns <= LARGEST, LIMITS, f"K = {inner}, N = {columns}")
    group = antiquant_group_size
    need(group == 0 or (group % 32 == 0 and 32 <= group < inner), GROUP, group)
    need(antiquant_scale.dtype is x.dtype, SCALE_DTYPE, antiquant_scale.dtype)
    shapes = {(-(-inner // group), columns)} if group else {(1,), (1, 1), (columns,), (1, columns)}
    fits = tuple(antiquant_scale.shape) in shapes
    need(fits, SCALE_SHAPE, f"{shown(antiquant_scale)} for {sorted(shapes)}")
    if antiquant_offset is not None:
        same = antiquant_offset.shape == antiquant_scale.shape
        need(same and antiquant_offset.dtype is antiquant_scale.dtype, OFFSET, antiquant_offset)
    if bias is not None:
        expected = torch.float16 if x.dtype is torch.float16 else torch.float32
        need(bias.dtype is expected, BIAS_DTYPE, bias.dtype)
        held = tuple(bias.shape) in {(columns,), (1, columns)} and bias.is_contiguous()
        need(held, BIAS_SHAPE, bias)
    need(inner_precise in {0, 1}, INNER, inner_precise)
    if weight.dtype is torch.int32 and format_of(weight) == FRACTAL_NZ:
        check_nz(weight, antiquant_scale, group, inner, columns)


def check_nz(weight: Tensor, scale: Tensor, group: int, inner: int, columns: int) -> None:
    """Check what holds for int4 words in FRACTAL_NZ alone."""
    need(group == 0 or group in NZ_GROUPS, NZ_GROUP, group)
    fits = group == 0 or (inner % group == 0 and columns % 64 == 0)
    need(fits, NZ_SHAPE, f"K = {inner}, N = {columns}, group {group}")
    by_column = scale.numel() > 1
    plain = weight.is_contiguous()
    need(plain if group else not plain or not by_column, NZ_TRANSPOSED, f"strided {weight.stride()}")


def logical_shape(weight: Tensor) -> tuple[int, int]:
    """Return (K, N) of a weight whose int32 elements hold 8 values along their contiguous axis."""
    rows, columns = weight.shape
    if weight.dtype is not torch.int32:
        return rows, columns
    return (rows, columns * PER_WORD) if weight.is_contiguous() else (rows * PER_WORD, columns)


def check_pack(weight: Tensor) -> None:
    """Check one call of the packing."""
    need(weight.dtype is torch.int32, PACK_DTYPE, weight.dtype)
    need(weight.dim() in {2, 3}, PACK_RANK, weight)
    need(weight.is_contiguous(), PACK_CONTIGUOUS, f"strided {weight.stride()}")
    need(weight.shape[-1] % PER_WORD == 0, PACK_MULTIPLE, weight)
    need(in_range(weight, -8, 8), PACK_RANGE, "a value outside")


@operator(f"npu::{MATMUL}", check=check, covers=COVERS)
def npu_weight_quant_batchmatmul(
    *,
    x: Tensor,
    weight: Tensor,
    antiquant_scale: Tensor,
    antiquant_offset: Tensor | None,
    bias: Tensor | None,
    antiquant_group_size: int,
) -> Tensor:
    """Return x @ ((weight + offset) * scale) + bias; `inner_precise` changes nothing here.

    The dequantised weight is rounded to the dtype of x, which is what the matrix unit takes; sums are
    float32, and the result is rounded once.

    Args:
        x: [M, K].
        weight: int8 [K, N], or int32 holding 8 int4 each; contiguous or a transposed view.
        antiquant_scale: Per tensor, per column or per group of rows; see the contract.
        antiquant_offset: As the scale; added, not subtracted.
        bias: [N] or [1, N].
        antiquant_group_size: Rows of K per group, 0 without groups.
    """
    values = plain_weight(weight).float()
    if antiquant_offset is not None:
        values = values + by_row(antiquant_offset, antiquant_group_size, len(values))
    values = (values * by_row(antiquant_scale, antiquant_group_size, len(values))).to(x.dtype)
    product = x.float() @ values.float()
    return (product if bias is None else product + bias.float()).to(x.dtype)


@operator(f"npu::{PACK}", check=check_pack, ignored=["inner_k_tiles"])
def npu_convert_weight_to_int4pack(weight: Tensor) -> Tensor:
    """Pack groups of 8 int4 values into an int32, the first one in the lowest bits, two's complement.

    Args:
        weight: int32 [..., M], values -8..7, M divisible by 8.

    Returns:
        int32 [..., M / 8], in the format of the weight; see `memory_words`.
    """
    words = torch.from_numpy(pack(weight.detach().cpu().numpy())).to(weight.device)
    return tagged(words, format_of(weight))


def memory_words(packed: Tensor) -> Tensor:
    """Return packed words as they lie in the device's memory, int32 [words].

    In FRACTAL_NZ they lie in tiles of 16 rows and 8 words, filled with zeros; for three axes one matrix after
    the other.
    """
    if format_of(packed) != FRACTAL_NZ:
        return packed.reshape(-1)
    matrices = packed.detach().cpu().reshape(-1, *packed.shape[-2:]).numpy()
    return torch.cat([torch.from_numpy(to_fractal(matrix)).reshape(-1) for matrix in matrices])


def unpack_int4(packed: Tensor) -> Tensor:
    """Undo the packing: int32 [..., M] to int32 [..., 8 * M] of values -8..7."""
    nibbles = (packed.unsqueeze(-1) >> shifts(packed.device).int()) & 0xF
    return (nibbles - ((nibbles & 0x8) << 1)).flatten(-2)


def shifts(device: torch.device) -> Tensor:
    """Return the bit position of each nibble, int64 [8]."""
    return torch.arange(PER_WORD, device=device) * 4


def plain_weight(weight: Tensor) -> Tensor:
    """Return the integer weight [K, N]."""
    if weight.dtype is not torch.int32:
        return weight
    return unpack_int4(weight) if weight.is_contiguous() else unpack_int4(weight.t()).t()


def by_row(scale: Tensor, group_size: int, num_rows: int) -> Tensor:
    """Return float32 [1 or K, 1 or N] that broadcasts over the weight."""
    table = scale.float().reshape(-1, scale.shape[-1])
    return table.repeat_interleave(group_size, 0)[:num_rows] if group_size else table
