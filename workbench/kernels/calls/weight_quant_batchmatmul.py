"""Calls of `npu_weight_quant_batchmatmul` and its packing: legal ones, and one broken call for each rule."""

from __future__ import annotations

from typing import Any

import torch

from workbench.kernels.calls.common import Call, half
from workbench.npu.formats import FRACTAL_NZ, tagged

MATMUL = "npu::npu_weight_quant_batchmatmul"
INT4 = "npu::npu_convert_weight_to_int4pack"


def matmul(**changes: Any) -> dict[str, Any]:
    """3 rows, K = 64, 16 columns of int8."""
    weight = torch.arange(64 * 16).remainder(15).sub(7).view(64, 16).to(torch.int8)
    return {"x": half(3, 64), "weight": weight, "antiquant_scale": half(16).abs()} | changes


def int4(**changes: Any) -> dict[str, Any]:
    """2 rows of 16 values."""
    return {"weight": torch.arange(32, dtype=torch.int32).view(2, 16).remainder(16).sub(8)} | changes


def nz(**changes: Any) -> dict[str, Any]:
    """3 rows, K = 128, 64 columns of int4 words in FRACTAL_NZ, groups of 64."""
    words = tagged(torch.arange(128 * 8, dtype=torch.int32).view(128, 8) * 0x01234567, FRACTAL_NZ)
    scale = half(2, 64).abs()
    given = {"x": half(3, 128), "weight": words, "antiquant_scale": scale, "antiquant_group_size": 64}
    return given | changes


LEGAL: dict[str, Call] = {"matmul": (MATMUL, matmul), "matmul_nz": (MATMUL, nz), "int4": (INT4, int4)}

BROKEN: dict[str, Call] = {
    "NPU-WQ-X-DTYPE": (MATMUL, lambda: matmul(x=half(3, 64).double(), antiquant_scale=half(16).double())),
    "NPU-WQ-X-RANK": (MATMUL, lambda: matmul(x=half(1, 3, 64))),
    "NPU-WQ-EMPTY": (MATMUL, lambda: matmul(x=half(0, 64))),
    "NPU-WQ-WEIGHT-DTYPE": (MATMUL, lambda: matmul(weight=matmul()["weight"].short())),
    "NPU-WQ-WEIGHT-STRIDES": (MATMUL, lambda: matmul(weight=torch.zeros(64, 32, dtype=torch.int8)[:, ::2])),
    "NPU-WQ-K": (MATMUL, lambda: matmul(x=half(3, 32))),
    "NPU-WQ-LIMITS": (
        MATMUL,
        lambda: matmul(x=half(1, 2), weight=torch.zeros(2, 65536, dtype=torch.int8), antiquant_scale=half(1)),
    ),
    "NPU-WQ-SCALE-DTYPE": (MATMUL, lambda: matmul(antiquant_scale=half(16).float())),
    "NPU-WQ-SCALE-SHAPE": (MATMUL, lambda: matmul(antiquant_scale=half(2, 16))),
    "NPU-WQ-OFFSET": (MATMUL, lambda: matmul(antiquant_offset=half(1))),
    "NPU-WQ-GROUP": (MATMUL, lambda: matmul(antiquant_group_size=64, antiquant_scale=half(1, 16))),
    "NPU-WQ-BIAS-DTYPE": (MATMUL, lambda: matmul(bias=half(16))),
    "NPU-WQ-BIAS-SHAPE": (MATMUL, lambda: matmul(bias=half(8).float())),
    "NPU-WQ-INNER-PRECISE": (MATMUL, lambda: matmul(inner_precise=2)),
    "NPU-WQ-NZ-GROUP": (MATMUL, lambda: nz(antiquant_group_size=32, antiquant_scale=half(4, 64).abs())),
    "NPU-WQ-NZ-SHAPE": (
        MATMUL,
        lambda: nz(
            weight=tagged(torch.zeros(128, 4, dtype=torch.int32), FRACTAL_NZ),
            antiquant_scale=half(2, 32).abs(),
        ),
    ),
    "NPU-WQ-NZ-TRANSPOSED": (MATMUL, lambda: nz(antiquant_group_size=0, antiquant_scale=half(64).abs())),
    "NPU-INT4-DTYPE": (INT4, lambda: int4(weight=int4()["weight"].to(torch.int8))),
    "NPU-INT4-RANK": (INT4, lambda: int4(weight=torch.zeros(16, dtype=torch.int32))),
    "NPU-INT4-CONTIGUOUS": (INT4, lambda: int4(weight=torch.zeros(16, 8, dtype=torch.int32).t())),
    "NPU-INT4-MULTIPLE": (INT4, lambda: int4(weight=torch.zeros(2, 12, dtype=torch.int32))),
    "NPU-INT4-RANGE": (INT4, lambda: int4(weight=torch.full((2, 8), 8, dtype=torch.int32))),
}
