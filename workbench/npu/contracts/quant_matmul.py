"""Contracts of `npu_weight_quant_batchmatmul` and `npu_convert_weight_to_int4pack`."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from workbench.npu.contracts.rules import UNSUPPORTED, NotModelledError, Rule, catalogue, need, shown
from workbench.npu.contracts.tensors import in_range, is_half_or_relaxed

MATMUL: Final = "npu_weight_quant_batchmatmul"
PACK: Final = "npu_convert_weight_to_int4pack"
_PAGE: Final = "op-plugin page of npu_weight_quant_batchmatmul"
_ACLNN: Final = "aclnnWeightQuantBatchMatmulV2 page"
_PACK_HOST: Final = "host code of npu_convert_weight_to_int4pack, op-plugin"
LARGEST: Final = 65535
"""Largest K and N."""

X_DTYPE = Rule(
    "NPU-WQ-X-DTYPE", MATMUL, "x", "float16 or bfloat16 (float32 only off the device)", _PAGE, UNSUPPORTED
)
X_RANK = Rule("NPU-WQ-X-RANK", MATMUL, "x", "2 axes (M, K)", _PAGE, UNSUPPORTED)
EMPTY = Rule("NPU-WQ-EMPTY", MATMUL, "x", "no empty tensors", _PAGE, UNSUPPORTED)
WEIGHT_DTYPE = Rule(
    "NPU-WQ-WEIGHT-DTYPE", MATMUL, "weight", "int8, or int32 with 8 int4 each", _PAGE, UNSUPPORTED
)
WEIGHT_STRIDES = Rule(
    "NPU-WQ-WEIGHT-STRIDES",
    MATMUL,
    "weight",
    "2 axes, contiguous (K, N) or the transposed view of a contiguous (N, K)",
    _ACLNN,
    UNSUPPORTED,
)
INNER_SIZE = Rule("NPU-WQ-K", MATMUL, "weight", "the K of x", _PAGE, UNSUPPORTED)
LIMITS = Rule("NPU-WQ-LIMITS", MATMUL, "weight", "K and N from 1 to 65535", _PAGE, UNSUPPORTED)
SCALE_DTYPE = Rule("NPU-WQ-SCALE-DTYPE", MATMUL, "antiquant_scale", "the dtype of x", _PAGE, UNSUPPORTED)
SCALE_SHAPE = Rule(
    "NPU-WQ-SCALE-SHAPE",
    MATMUL,
    "antiquant_scale",
    "(1,) or (1, 1), (N,) or (1, N), or (ceil(K / group), N) per group",
    _PAGE,
    UNSUPPORTED,
)
OFFSET = Rule(
    "NPU-WQ-OFFSET", MATMUL, "antiquant_offset", "shape and dtype of antiquant_scale", _PAGE, UNSUPPORTED
)
GROUP = Rule(
    "NPU-WQ-GROUP",
    MATMUL,
    "antiquant_group_size",
    "0, or a multiple of 32 from 32 to K - 1",
    _PAGE,
    UNSUPPORTED,
)
BIAS_DTYPE = Rule(
    "NPU-WQ-BIAS-DTYPE", MATMUL, "bias", "float16 beside float16, float32 beside bfloat16", _PAGE, UNSUPPORTED
)
BIAS_SHAPE = Rule("NPU-WQ-BIAS-SHAPE", MATMUL, "bias", "contiguous (N,) or (1, N)", _PAGE, UNSUPPORTED)
INNER = Rule("NPU-WQ-INNER-PRECISE", MATMUL, "inner_precise", "0 or 1", _PAGE, UNSUPPORTED)
PACK_DTYPE = Rule("NPU-INT4-DTYPE", PACK, "weight", "int32", _PACK_HOST, UNSUPPORTED)
PACK_RANK = Rule("NPU-INT4-RANK", PACK, "weight", "2 or 3 axes", _PACK_HOST, UNSUPPORTED)
PACK_CONTIGUOUS = Rule("NPU-INT4-CONTIGUOUS", PACK, "weight", "a contiguous tensor", _PACK_HOST, UNSUPPORTED)
PACK_MULTIPLE = Rule(
    "NPU-INT4-MULTIPLE", PACK, "weight", "a last axis divisible by 8", _PACK_HOST, UNSUPPORTED
)
PACK_RANGE = Rule(
    "NPU-INT4-RANGE", PACK, "weight", "values from -8 to 7", _PACK_HOST, "not documented beyond int4"
)

RULES = catalogue(globals())


def check_weight_quant_batchmatmul(  # noqa: PLR0917  # the vendor's schema
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
) -> None:
    """Check one call of `npu_weight_quant_batchmatmul`.

    Raises:
        ContractError: naming the rule.
        NotModelledError: for quantised outputs, packed scales and foreign weight types.
    """
    refuse_unmodelled(quant_scale, quant_offset, weight_dtype, antiquant_scale)
    need(is_half_or_relaxed(x), X_DTYPE, x.dtype)
    need(x.dim() == 2, X_RANK, x)
    need(weight.dtype in {torch.int8, torch.int32}, WEIGHT_DTYPE, weight.dtype)
    plain = weight.dim() == 2 and (weight.is_contiguous() or weight.t().is_contiguous())
    need(plain, WEIGHT_STRIDES, f"{shown(weight)} strided {weight.stride()}")
    need(x.numel() > 0 and weight.numel() > 0, EMPTY, f"{shown(x)} and {shown(weight)}")
    inner, columns = logical_shape(weight)
    need(inner == x.shape[1], INNER_SIZE, f"K = {inner} beside {x.shape[1]}")
    need(inner <= LARGEST and columns <= LARGEST, LIMITS, f"K = {inner}, N = {columns}")
    group = antiquant_group_size
    need(group == 0 or (group % 32 == 0 and 32 <= group < inner), GROUP, group)
    need(antiquant_scale.dtype is x.dtype, SCALE_DTYPE, antiquant_scale.dtype)
    shapes = {(-(-inner // group), columns)} if group else {(1,), (1, 1), (columns,), (1, columns)}
    need(
        tuple(antiquant_scale.shape) in shapes, SCALE_SHAPE, f"{shown(antiquant_scale)} for {sorted(shapes)}"
    )
    if antiquant_offset is not None:
        same = antiquant_offset.shape == antiquant_scale.shape
        need(same and antiquant_offset.dtype is antiquant_scale.dtype, OFFSET, antiquant_offset)
    check_bias(bias, x.dtype, columns)
    need(inner_precise in {0, 1}, INNER, inner_precise)


def refuse_unmodelled(
    quant_scale: Tensor | None, quant_offset: Tensor | None, weight_dtype: int | None, scale: Tensor
) -> None:
    """Say aloud what is not covered.

    Raises:
        NotModelledError: when such an argument is given.
    """
    given = {"quant_scale": quant_scale, "quant_offset": quant_offset, "weight_dtype": weight_dtype}
    used = [name for name, value in given.items() if value is not None]
    used += ["int64 antiquant_scale"] if scale.dtype is torch.int64 else []
    if used:
        raise NotModelledError(
            f"{MATMUL}: {', '.join(used)} may be legal on the device, but the contract covers int8 and int4 "
            "weights with float scales and float outputs only; nothing was checked"
        )


def check_bias(bias: Tensor | None, x_dtype: torch.dtype, columns: int) -> None:
    """Check the bias against the dtype of x and N."""
    if bias is None:
        return
    expected = torch.float16 if x_dtype is torch.float16 else torch.float32
    need(bias.dtype is expected, BIAS_DTYPE, bias.dtype)
    held = tuple(bias.shape) in {(columns,), (1, columns)} and bias.is_contiguous()
    need(held, BIAS_SHAPE, bias)


def logical_shape(weight: Tensor) -> tuple[int, int]:
    """Return (K, N) of a weight whose int32 elements hold 8 values along their contiguous axis."""
    rows, columns = weight.shape
    if weight.dtype is not torch.int32:
        return rows, columns
    return (rows, columns * 8) if weight.is_contiguous() else (rows * 8, columns)


def check_convert_weight_to_int4pack(weight: Tensor, inner_k_tiles: int = 0) -> None:
    """Check one call of `npu_convert_weight_to_int4pack`.

    Raises:
        ContractError: naming the rule.
    """
    del inner_k_tiles  # the operator does not read it
    need(weight.dtype is torch.int32, PACK_DTYPE, weight.dtype)
    need(weight.dim() in {2, 3}, PACK_RANK, weight)
    need(weight.is_contiguous(), PACK_CONTIGUOUS, f"strided {weight.stride()}")
    need(weight.shape[-1] % 8 == 0, PACK_MULTIPLE, weight)
    need(in_range(weight, -8, 8), PACK_RANGE, "a value outside")
