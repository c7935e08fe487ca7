"""Calls of `npu_fusion_attention`: legal ones, and one broken call for each rule."""

from __future__ import annotations

from typing import Any

import torch

from workbench.kernels.calls.common import Call, causal, half, one_hot_hidden, qkv

FUSION = "npu::npu_fusion_attention"


def fusion(**changes: Any) -> dict[str, Any]:
    """BSND, B = 2, 4 queries over 8 keys, 4 heads over 2."""
    return {
        **qkv((2, 4, 4, 64), (2, 8, 2, 64)),
        "head_num": 4,
        "input_layout": "BSND",
        "scale": 0.125,
    } | changes


def fusion_packed(**changes: Any) -> dict[str, Any]:
    """TND, requests of 2, 4 and no queries over 4, 6 and no keys."""
    return {
        **qkv((6, 4, 64), (10, 2, 64)),
        "head_num": 4,
        "input_layout": "TND",
        "scale": 0.125,
        "actual_seq_qlen": [2, 6, 0],
        "actual_seq_kvlen": [4, 10, 0],
    } | changes


LEGAL: dict[str, Call] = {"fusion": (FUSION, fusion), "fusion_packed": (FUSION, fusion_packed)}

BROKEN: dict[str, Call] = {
    "NPU-FA-DTYPE": (FUSION, lambda: fusion(value=half(2, 8, 2, 64).float())),
    "NPU-FA-LAYOUT": (FUSION, lambda: fusion(input_layout="NSD")),
    "NPU-FA-RANK": (FUSION, lambda: fusion(query=half(2, 4, 256))),
    "NPU-FA-HEADS": (FUSION, lambda: fusion(head_num=8)),
    "NPU-FA-DIM": (FUSION, lambda: fusion(query=half(2, 4, 4, 784), key=half(2, 8, 2, 784))),
    "NPU-FA-SHAPE": (FUSION, lambda: fusion(value=half(2, 7, 2, 64))),
    "NPU-FA-SCALE": (FUSION, lambda: {k: v for k, v in fusion().items() if k != "scale"}),
    "NPU-FA-INNER-PRECISE": (FUSION, lambda: fusion(inner_precise=3)),
    "NPU-FA-SPARSE-MODE": (FUSION, lambda: fusion(sparse_mode=9)),
    "NPU-FA-TND-LENGTHS": (FUSION, lambda: fusion_packed(actual_seq_qlen=[2, 4])),
    "NPU-FA-DENSE-LENGTHS": (FUSION, lambda: fusion(actual_seq_qlen=[4, 8])),
    "NPU-FA-MASK-DTYPE": (FUSION, lambda: fusion(atten_mask=causal().to(torch.int8))),
    "NPU-FA-MASK-SHAPE": (FUSION, lambda: fusion(atten_mask=torch.zeros(1, 8, dtype=torch.bool))),
    "NPU-FA-SPARSE-MASK": (FUSION, lambda: fusion(sparse_mode=2)),
    "NPU-FA-MASK-TRIU": (FUSION, lambda: fusion(sparse_mode=3, atten_mask=causal())),
    "NPU-FA-MASK-ROW": (FUSION, lambda: fusion(atten_mask=one_hot_hidden())),
}
