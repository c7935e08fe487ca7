"""For every rule of the smaller operators one legal call, changed in exactly what the rule is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tests.npu_ops.broken_attention import Call, ints, one_hot_hidden
from tests.npu_ops.calls import (
    add_rms,
    atb,
    causal,
    fusion,
    fusion_packed,
    gating,
    gating_softmax,
    half,
    int4,
    matmul,
    pa_norm,
    pa_nz,
    rms,
    rope,
    rotary,
    scatter,
    swiglu,
    top,
)


def aliased(make: Callable[..., dict[str, Any]], first: str, second: str) -> Callable[[], dict[str, Any]]:
    """Return a call in which two arguments are one tensor."""

    def build() -> dict[str, Any]:
        call = make()
        return call | {second: call[first]}

    return build


RMS, ADD = "npu::npu_rms_norm", "npu::npu_add_rms_norm"
ROTARY, ROPE = "npu::npu_rotary_mul", "npu::npu_apply_rotary_pos_emb"
SWIGLU, SCATTER = "npu::npu_swiglu", "npu::npu_scatter_nd_update"
PA, ATB = "npu::npu_scatter_pa_kv_cache", "atb::_npu_reshape_and_cache"
FUSION = "npu::npu_fusion_attention"
MATMUL, INT4 = "npu::npu_weight_quant_batchmatmul", "npu::npu_convert_weight_to_int4pack"
GATING, SOFTMAX = "npu::npu_moe_gating_top_k", "npu::npu_moe_gating_top_k_softmax"
TOP = "npu::npu_top_k_top_p"


def bnsd_rotary() -> dict[str, Any]:
    """A short tree in BNSD: 32 heads, 2 rows."""
    table = torch.zeros(1, 1, 2, 64).bfloat16()
    return rotary(input=half(1, 32, 2, 64), r1=table, r2=table)


def overlapping_scatter() -> dict[str, Any]:
    """Updates that are a view of the tensor they go to."""
    target = half(6, 3)
    return {"input": target, "indices": torch.tensor([[5], [4]]), "updates": target[:2]}


OTHER_BROKEN: dict[str, Call] = {
    "NPU-RMS-DTYPE": (RMS, lambda: rms(input=half(3, 8).double())),
    "NPU-RMS-DTYPE-PAIR": (RMS, lambda: rms(gamma=half(8).half())),
    "NPU-RMS-GAMMA-SHAPE": (RMS, lambda: rms(gamma=half(4))),
    "NPU-RMS-EPSILON": (RMS, lambda: rms(epsilon=-1.0)),
    "NPU-ADDRMS-SHAPE": (ADD, lambda: add_rms(x2=half(1, 8))),
    "NPU-ADDRMS-DTYPE": (ADD, lambda: add_rms(gamma=half(8).float())),
    "NPU-ADDRMS-GAMMA-SHAPE": (ADD, lambda: add_rms(gamma=half(3))),
    "NPU-ADDRMS-EMPTY": (ADD, lambda: add_rms(x1=half(0, 8), x2=half(0, 8))),
    "NPU-ADDRMS-EPSILON": (ADD, lambda: add_rms(epsilon=float("nan"))),
    "NPU-ADDRMS-ALIAS": (f"{ADD}_v2", aliased(add_rms, "x1", "x2")),
    "NPU-ROTARY-DTYPE": (ROTARY, lambda: rotary(input=half(2, 5, 4, 64).double())),
    "NPU-ROTARY-TABLE-DTYPE": (
        ROTARY,
        lambda: {k: v.double() if k != "input" else v for k, v in rotary().items()},
    ),
    "NPU-ROTARY-MODE": (ROTARY, lambda: rotary(rotary_mode="quarter")),
    "NPU-ROTARY-RANK": (ROTARY, lambda: rotary(input=half(40, 64))),
    "NPU-ROTARY-TABLES": (ROTARY, lambda: rotary(r2=half(1, 5, 1, 32))),
    "NPU-ROTARY-BROADCAST": (
        ROTARY,
        lambda: {"input": half(2, 5, 4, 64)} | dict.fromkeys(("r1", "r2"), torch.zeros(5, 64).bfloat16()),
    ),
    "NPU-ROTARY-INTERLEAVE": (
        ROTARY,
        lambda: (
            rotary(rotary_mode="interleave")
            | dict.fromkeys(("r1", "r2"), torch.zeros(2, 5, 1, 64).bfloat16())
        ),
    ),
    "NPU-ROTARY-EVEN": (
        ROTARY,
        lambda: {"input": half(2, 5, 4, 7)} | dict.fromkeys(("r1", "r2"), torch.zeros(1, 5, 1, 7).bfloat16()),
    ),
    "NPU-ROTARY-LIMITS": (
        ROTARY,
        lambda: (
            {"input": half(2, 5, 1001, 2)} | dict.fromkeys(("r1", "r2"), torch.zeros(1, 5, 1, 2).bfloat16())
        ),
    ),
    "NPU-ROTARY-SHORT": (ROTARY, bnsd_rotary),
    "NPU-ROTARY-RANGE": (ROTARY, lambda: rotary(r1=rotary()["r1"] * 2)),
    "NPU-ROPE-DTYPE": (ROPE, lambda: rope(key=half(2, 5, 2, 64).half())),
    "NPU-ROPE-LAYOUT": (ROPE, lambda: rope(layout="BNSD")),
    "NPU-ROPE-MODE": (ROPE, lambda: rope(rotary_mode="interleave")),
    "NPU-ROPE-DIM": (ROPE, lambda: {k: v[..., :32].contiguous() for k, v in rope().items()}),
    "NPU-ROPE-EMPTY": (ROPE, lambda: rope(key=half(2, 5, 0, 64))),
    "NPU-ROPE-KEY": (ROPE, lambda: rope(key=half(2, 4, 2, 64))),
    "NPU-ROPE-TABLES": (ROPE, lambda: rope(cos=half(1, 5, 1, 64))),
    "NPU-ROPE-CONTIGUOUS": (ROPE, lambda: rope(key=half(2, 2, 5, 64).transpose(1, 2))),
    "NPU-ROPE-ALIAS": (ROPE, aliased(rope, "query", "key")),
    "NPU-SWIGLU-DTYPE": (SWIGLU, lambda: swiglu(input=half(3, 8).double())),
    "NPU-SWIGLU-RANK": (SWIGLU, lambda: swiglu(input=half(1, 1, 1, 1, 1, 1, 1, 1, 8))),
    "NPU-SWIGLU-DIM": (SWIGLU, lambda: swiglu(dim=2)),
    "NPU-SWIGLU-EMPTY": (SWIGLU, lambda: swiglu(input=half(0, 8))),
    "NPU-SWIGLU-EVEN": (SWIGLU, lambda: swiglu(input=half(3, 7))),
    "NPU-SWIGLU-CONTIGUOUS": (SWIGLU, lambda: swiglu(input=half(8, 3).t())),
    "NPU-SCATTER-DTYPE": (SCATTER, lambda: scatter(input=half(6, 3, 4).int(), updates=half(2, 4).int())),
    "NPU-SCATTER-UPDATE-DTYPE": (SCATTER, lambda: scatter(updates=half(2, 4).half())),
    "NPU-SCATTER-INDEX-DTYPE": (SCATTER, lambda: scatter(indices=torch.tensor([[0, 2], [5, 1]]).short())),
    "NPU-SCATTER-INDEX-RANK": (SCATTER, lambda: scatter(indices=torch.tensor([0, 5]), updates=half(2, 3, 4))),
    "NPU-SCATTER-UPDATE-SHAPE": (SCATTER, lambda: scatter(updates=half(1, 4))),
    "NPU-SCATTER-BOUNDS": (SCATTER, lambda: scatter(indices=torch.tensor([[0, 2], [5, -1]]))),
    "NPU-SCATTER-UNIQUE": (SCATTER, lambda: scatter(indices=torch.tensor([[5, 1], [5, 1]]))),
    "NPU-SCATTER-ALIAS": (f"{SCATTER}_", overlapping_scatter),
    "NPU-PA-DTYPE": (PA, lambda: pa_norm(key_cache=half(4, 8, 2, 16).half())),
    "NPU-PA-MODE": (PA, lambda: pa_norm(cache_mode="NHSD")),
    "NPU-PA-RANK": (PA, lambda: pa_norm(value=half(4, 2, 16))),
    "NPU-PA-CACHE": (PA, lambda: {k: v for k, v in pa_norm().items() if k != "cache_mode"}),
    "NPU-PA-NZ-DIM": (
        PA,
        lambda: pa_nz(
            key=half(3, 2, 8), value=half(3, 2, 8), key_cache=half(4, 1, 8, 16), value_cache=half(4, 1, 8, 16)
        ),
    ),
    "NPU-PA-CONTIGUOUS": (PA, lambda: pa_norm(key=half(2, 3, 16).transpose(0, 1))),
    "NPU-PA-SLOTS": (PA, lambda: pa_norm(slot_mapping=torch.tensor([3, 31]))),
    "NPU-PA-SLOT-NEGATIVE": (PA, lambda: pa_norm(slot_mapping=torch.tensor([3, -1, 8]))),
    "NPU-PA-SLOT-BOUND": (PA, lambda: pa_norm(slot_mapping=torch.tensor([3, 32, 8]))),
    "NPU-PA-SLOT-UNIQUE": (PA, lambda: pa_norm(slot_mapping=torch.tensor([3, 8, 8]))),
    "NPU-ATB-CACHE-DTYPE": (ATB, lambda: atb(value_cache=half(4, 8, 2, 16).half())),
    "NPU-ATB-CACHE-SHAPE": (ATB, lambda: atb(key_cache=half(4, 2, 8, 16))),
    "NPU-ATB-CACHE-CONTIGUOUS": (ATB, lambda: atb(key=half(2, 3, 16).transpose(0, 1))),
    "NPU-ATB-CACHE-UNIT": (
        ATB,
        lambda: atb(
            key=half(3, 3, 4), value=half(3, 3, 4), key_cache=half(4, 8, 3, 4), value_cache=half(4, 8, 3, 4)
        ),
    ),
    "NPU-ATB-SLOTS": (ATB, lambda: atb(slot_indices=torch.tensor([3, 31, 8]))),
    "NPU-ATB-SLOT-BOUND": (ATB, lambda: atb(slot_indices=ints(3, 32, 8))),
    "NPU-ATB-SLOT-UNIQUE": (ATB, lambda: atb(slot_indices=ints(3, 8, 8))),
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
    "NPU-INT4-DTYPE": (INT4, lambda: int4(weight=int4()["weight"].to(torch.int8))),
    "NPU-INT4-RANK": (INT4, lambda: int4(weight=torch.zeros(16, dtype=torch.int32))),
    "NPU-INT4-CONTIGUOUS": (INT4, lambda: int4(weight=torch.zeros(16, 8, dtype=torch.int32).t())),
    "NPU-INT4-MULTIPLE": (INT4, lambda: int4(weight=torch.zeros(2, 12, dtype=torch.int32))),
    "NPU-INT4-RANGE": (INT4, lambda: int4(weight=torch.full((2, 8), 8, dtype=torch.int32))),
    "NPU-MOE-INPUT": (GATING, lambda: gating(x=half(1, 5, 16))),
    "NPU-MOE-EXPERTS": (GATING, lambda: gating(x=half(1, 65 * 3), group_count=65)),
    "NPU-MOE-GROUPS": (GATING, lambda: gating(group_count=3)),
    "NPU-MOE-GROUP-SIZE": (GATING, lambda: gating(group_count=8)),
    "NPU-MOE-K-GROUP": (GATING, lambda: gating(k_group=5)),
    "NPU-MOE-K": (GATING, lambda: gating(k=9)),
    "NPU-MOE-GROUP-SELECT": (GATING, lambda: gating(group_select_mode=2)),
    "NPU-MOE-NORM-TYPE": (GATING, lambda: gating(norm_type=2)),
    "NPU-MOE-RENORM": (GATING, lambda: gating(renorm=1)),
    "NPU-MOE-BIAS": (GATING, lambda: gating(bias=half(16).float())),
    "NPU-MOES-INPUT": (SOFTMAX, lambda: gating_softmax(x=half(1, 1, 5, 16))),
    "NPU-MOES-K": (SOFTMAX, lambda: gating_softmax(k=17)),
    "NPU-MOES-FINISHED": (SOFTMAX, lambda: gating_softmax(finished=torch.zeros(4, dtype=torch.bool))),
    "NPU-TOPKP-LOGITS": (TOP, lambda: top(logits=half(1, 3, 20))),
    "NPU-TOPKP-BOTH": (TOP, lambda: {k: v for k, v in top().items() if k != "p"}),
    "NPU-TOPKP-P": (TOP, lambda: top(p=torch.ones(3))),
    "NPU-TOPKP-K": (TOP, lambda: top(k=torch.tensor([1, 5, 20]))),
    "NPU-TOPKP-K-RANGE": (TOP, lambda: top(k=ints(1, 0, 20))),
}
