"""Legal calls to start from: one per operator and form, small, and legal in every other respect."""

from __future__ import annotations

from typing import Any

import torch

FIA = "npu::npu_fused_infer_attention_score"
FIA_V2 = f"{FIA}_v2"


def half(*shape: int) -> torch.Tensor:
    """Return reproducible bfloat16 numbers of about unit size."""
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator).bfloat16()


def dense(**changes: Any) -> dict[str, Any]:
    """BSND, B = 2, Q_S = 4, 8 keys, 4 heads over 2, D = 64."""
    return {
        "query": half(2, 4, 4, 64),
        "key": half(2, 8, 2, 64),
        "value": half(2, 8, 2, 64),
        "num_heads": 4,
        "num_key_value_heads": 2,
        "scale": 0.125,
        "input_layout": "BSND",
    } | changes


def decode(**changes: Any) -> dict[str, Any]:
    """BSND with one query row."""
    return dense(query=half(2, 1, 4, 64)) | changes


def causal(rows: int = 4, columns: int = 8) -> torch.Tensor:
    """Bool, True is left out, diagonal at the bottom right."""
    return torch.ones(rows, columns, dtype=torch.bool).triu(columns - rows + 1)


def masked(**changes: Any) -> dict[str, Any]:
    """`dense` with a full causal mask."""
    return dense(atten_mask=causal()) | changes


def compressed(**changes: Any) -> dict[str, Any]:
    """`dense` with the 2048 mask of sparse mode 3."""
    return dense(atten_mask=torch.ones(2048, 2048, dtype=torch.bool).triu(1), sparse_mode=3) | changes


def paged(**changes: Any) -> dict[str, Any]:
    """`dense` queries over a cache of 4 blocks of 16 in the 3-axis form; 8 and 20 keys."""
    return (
        dense(
            key=half(4, 16, 128),
            value=half(4, 16, 128),
            block_table=torch.tensor([[2, -1], [0, 3]], dtype=torch.int32),
            actual_seq_lengths_kv=[8, 20],
            block_size=16,
        )
        | changes
    )


def packed(**changes: Any) -> dict[str, Any]:
    """TND, requests of 2 and 4 queries over 4 and 6 keys."""
    return {
        "query": half(6, 4, 64),
        "key": half(10, 2, 64),
        "value": half(10, 2, 64),
        "num_heads": 4,
        "num_key_value_heads": 2,
        "scale": 0.125,
        "input_layout": "TND",
        "actual_seq_lengths": [2, 6],
        "actual_seq_lengths_kv": [4, 10],
    } | changes


def packed_v2(**changes: Any) -> dict[str, Any]:
    """`packed` under the names of v2, with a sink."""
    renamed = {
        "actual_seq_lengths": "actual_seq_qlen",
        "actual_seq_lengths_kv": "actual_seq_kvlen",
        "num_heads": "num_query_heads",
        "scale": "softmax_scale",
    }
    call = {renamed.get(name, name): value for name, value in packed().items()}
    return call | {"learnable_sink": half(4)} | changes


def rms(**changes: Any) -> dict[str, Any]:
    return {"input": half(3, 8), "gamma": half(8)} | changes


def add_rms(**changes: Any) -> dict[str, Any]:
    return {"x1": half(3, 8), "x2": half(3, 8), "gamma": half(8)} | changes


def rotary(**changes: Any) -> dict[str, Any]:
    """BSND with tables 1S1D."""
    table = torch.linspace(-1, 1, 5 * 64).view(1, 5, 1, 64).bfloat16()
    return {"input": half(2, 5, 4, 64), "r1": table, "r2": table.flip(1)} | changes


def rope(**changes: Any) -> dict[str, Any]:
    table = torch.linspace(-1, 1, 2 * 5 * 64).view(2, 5, 1, 64).bfloat16()
    return {
        "query": half(2, 5, 4, 64),
        "key": half(2, 5, 2, 64),
        "cos": table,
        "sin": table.flip(1),
    } | changes


def swiglu(**changes: Any) -> dict[str, Any]:
    return {"input": half(3, 8)} | changes


def scatter(**changes: Any) -> dict[str, Any]:
    return {
        "input": half(6, 3, 4),
        "indices": torch.tensor([[0, 2], [5, 1]]),
        "updates": half(2, 4),
    } | changes


def pa_norm(**changes: Any) -> dict[str, Any]:
    return {
        "key": half(3, 2, 16),
        "value": half(3, 2, 16),
        "key_cache": half(4, 8, 2, 16),
        "value_cache": half(4, 8, 2, 16),
        "slot_mapping": torch.tensor([3, 31, 8]),
        "cache_mode": "Norm",
    } | changes


def pa_nz(**changes: Any) -> dict[str, Any]:
    return pa_norm(key_cache=half(4, 2, 8, 16), value_cache=half(4, 2, 8, 16), cache_mode="PA_NZ") | changes


def atb(**changes: Any) -> dict[str, Any]:
    call = pa_norm(slot_indices=torch.tensor([3, -1, 8], dtype=torch.int32)) | changes
    return {name: value for name, value in call.items() if name not in {"slot_mapping", "cache_mode"}}


def fusion(**changes: Any) -> dict[str, Any]:
    return {
        "query": half(2, 4, 4, 64),
        "key": half(2, 8, 2, 64),
        "value": half(2, 8, 2, 64),
        "head_num": 4,
        "input_layout": "BSND",
        "scale": 0.125,
    } | changes


def fusion_packed(**changes: Any) -> dict[str, Any]:
    return {
        "query": half(6, 4, 64),
        "key": half(10, 2, 64),
        "value": half(10, 2, 64),
        "head_num": 4,
        "input_layout": "TND",
        "scale": 0.125,
        "actual_seq_qlen": [2, 6, 0],
        "actual_seq_kvlen": [4, 10, 0],
    } | changes


def matmul(**changes: Any) -> dict[str, Any]:
    weight = torch.arange(64 * 16).remainder(15).sub(7).view(64, 16).to(torch.int8)
    return {"x": half(3, 64), "weight": weight, "antiquant_scale": half(16).abs()} | changes


def int4(**changes: Any) -> dict[str, Any]:
    return {"weight": torch.arange(32, dtype=torch.int32).view(2, 16).remainder(16).sub(8)} | changes


def gating(**changes: Any) -> dict[str, Any]:
    return {"x": half(5, 16), "k": 3, "group_count": 4, "k_group": 2} | changes


def gating_softmax(**changes: Any) -> dict[str, Any]:
    return {"x": half(5, 16), "k": 3} | changes


def top(**changes: Any) -> dict[str, Any]:
    return {
        "logits": half(3, 20),
        "p": torch.tensor([0.5, 0.9, 1.0]).bfloat16(),
        "k": torch.tensor([1, 5, 20], dtype=torch.int32),
    } | changes


LEGAL: dict[str, tuple[str, dict[str, Any]]] = {
    "dense": (FIA, dense()),
    "decode": (FIA, decode()),
    "masked": (FIA, masked()),
    "compressed": (FIA, compressed()),
    "paged": (FIA, paged()),
    "packed": (FIA, packed()),
    "packed_v2": (FIA_V2, packed_v2()),
    "rms": ("npu::npu_rms_norm", rms()),
    "add_rms": ("npu::npu_add_rms_norm", add_rms()),
    "add_rms_v2": ("npu::npu_add_rms_norm_v2", add_rms()),
    "rotary": ("npu::npu_rotary_mul", rotary()),
    "rope": ("npu::npu_apply_rotary_pos_emb", rope()),
    "swiglu": ("npu::npu_swiglu", swiglu()),
    "scatter": ("npu::npu_scatter_nd_update", scatter()),
    "scatter_": ("npu::npu_scatter_nd_update_", scatter()),
    "pa_norm": ("npu::npu_scatter_pa_kv_cache", pa_norm()),
    "pa_nz": ("npu::npu_scatter_pa_kv_cache", pa_nz()),
    "atb": ("atb::_npu_reshape_and_cache", atb()),
    "fusion": ("npu::npu_fusion_attention", fusion()),
    "fusion_packed": ("npu::npu_fusion_attention", fusion_packed()),
    "matmul": ("npu::npu_weight_quant_batchmatmul", matmul()),
    "int4": ("npu::npu_convert_weight_to_int4pack", int4()),
    "gating": ("npu::npu_moe_gating_top_k", gating()),
    "gating_softmax": ("npu::npu_moe_gating_top_k_softmax", gating_softmax()),
    "top": ("npu::npu_top_k_top_p", top()),
}
"""Name of a form to operator and keyword arguments."""
