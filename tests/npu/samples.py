"""One small legal call for each operator of the twin, written from the vendor's pages."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

BF16 = torch.bfloat16
Call = tuple[tuple[Any, ...], dict[str, Any]]


def _randn(*shape: int, dtype: torch.dtype = BF16) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7)).to(dtype)


def _attention(heads: str, scale: str) -> Call:
    query, key, value = _randn(1, 4, 4, 64), _randn(1, 9, 2, 64), _randn(1, 9, 2, 64)
    blocked = torch.ones(4, 9, dtype=torch.bool).triu(6)[None]
    named = {"atten_mask": blocked, "input_layout": "BSND", "num_key_value_heads": 2, heads: 4}
    return (query, key, value), {**named, scale: 1 / math.sqrt(64)}


def _fusion_attention() -> Call:
    query, key, value = _randn(1, 4, 4, 64), _randn(1, 4, 2, 64), _randn(1, 4, 2, 64)
    blocked = torch.ones(4, 4, dtype=torch.bool).triu(1)
    return (query, key, value, 4, "BSND"), {"atten_mask": blocked, "scale": 1 / math.sqrt(64)}


def _paged_write(slots: torch.Tensor) -> tuple[Any, ...]:
    return (_randn(3, 2, 64), _randn(3, 2, 64), _randn(2, 16, 2, 64), _randn(2, 16, 2, 64), slots)


def _cos_sin(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    angles = torch.linspace(0, 1, math.prod(shape) // 2).view(*shape[:-1], shape[-1] // 2)
    both = torch.cat((angles, angles), dim=-1)
    return both.cos().to(BF16), both.sin().to(BF16)


SAMPLES: dict[str, Callable[[], Call]] = {
    "npu::npu_fused_infer_attention_score": lambda: _attention("num_heads", "scale"),
    "npu::npu_fused_infer_attention_score_v2": lambda: _attention("num_query_heads", "softmax_scale"),
    "npu::npu_fusion_attention": _fusion_attention,
    "npu::npu_rms_norm": lambda: ((_randn(3, 64), _randn(64), 1e-5), {}),
    "npu::npu_add_rms_norm": lambda: ((_randn(3, 64), _randn(3, 64) + 1, _randn(64), 1e-5), {}),
    "npu::npu_add_rms_norm_v2": lambda: ((_randn(3, 64), _randn(3, 64) + 1, _randn(64), 1e-5), {}),
    "npu::npu_rotary_mul": lambda: ((_randn(1, 4, 2, 64), *_cos_sin(1, 4, 1, 64)), {}),
    "npu::npu_apply_rotary_pos_emb": lambda: (
        (_randn(1, 4, 2, 64), _randn(1, 4, 1, 64), *_cos_sin(1, 4, 1, 64)),
        {},
    ),
    "npu::npu_swiglu": lambda: ((_randn(3, 64),), {}),
    "npu::npu_scatter_nd_update": lambda: ((_randn(6, 8), torch.tensor([[1], [4]]), _randn(2, 8)), {}),
    "npu::npu_scatter_nd_update_": lambda: ((_randn(6, 8), torch.tensor([[1], [4]]), _randn(2, 8)), {}),
    "npu::npu_scatter_pa_kv_cache": lambda: (
        _paged_write(torch.tensor([0, 17, 5], dtype=torch.int32)),
        {"cache_mode": "Norm"},
    ),
    "atb::_npu_reshape_and_cache": lambda: (_paged_write(torch.tensor([0, 17, 5], dtype=torch.int32)), {}),
    "npu::npu_convert_weight_to_int4pack": lambda: (
        (torch.arange(-8, 8, dtype=torch.int32).repeat(4, 1),),
        {},
    ),
    "npu::npu_weight_quant_batchmatmul": lambda: (
        (_randn(4, 64), torch.zeros(64, 64, dtype=torch.int8), _randn(64)),
        {},
    ),
    "npu::npu_moe_gating_top_k": lambda: ((_randn(4, 8), 2), {}),
    "npu::npu_moe_gating_top_k_softmax": lambda: ((_randn(4, 8), None, 2), {}),
    "npu::npu_top_k_top_p": lambda: (
        (_randn(2, 16), torch.full((2,), 0.9, dtype=BF16), torch.tensor([4, 8], dtype=torch.int32)),
        {},
    ),
}
