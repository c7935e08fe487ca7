"""Every operator that the twin covers, by the name under which its schema is registered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from workbench.npu.ops.fia import npu_fused_infer_attention_score, npu_fused_infer_attention_score_v2
from workbench.npu.ops.fusion_attention import npu_fusion_attention
from workbench.npu.ops.moe import npu_moe_gating_top_k, npu_moe_gating_top_k_softmax
from workbench.npu.ops.norms import npu_add_rms_norm, npu_add_rms_norm_v2, npu_rms_norm
from workbench.npu.ops.paged_cache import npu_reshape_and_cache, npu_scatter_pa_kv_cache
from workbench.npu.ops.quant_matmul import npu_convert_weight_to_int4pack, npu_weight_quant_batchmatmul
from workbench.npu.ops.rope import npu_apply_rotary_pos_emb
from workbench.npu.ops.rotary import npu_rotary_mul
from workbench.npu.ops.sampling import npu_top_k_top_p
from workbench.npu.ops.scatter import npu_scatter_nd_update, npu_scatter_nd_update_
from workbench.npu.ops.swiglu import npu_swiglu

TWINS: Final[dict[str, Callable[..., Any]]] = {
    "npu::npu_fused_infer_attention_score": npu_fused_infer_attention_score,
    "npu::npu_fused_infer_attention_score_v2": npu_fused_infer_attention_score_v2,
    "npu::npu_rms_norm": npu_rms_norm,
    "npu::npu_add_rms_norm": npu_add_rms_norm,
    "npu::npu_add_rms_norm_v2": npu_add_rms_norm_v2,
    "npu::npu_rotary_mul": npu_rotary_mul,
    "npu::npu_apply_rotary_pos_emb": npu_apply_rotary_pos_emb,
    "npu::npu_swiglu": npu_swiglu,
    "npu::npu_scatter_nd_update": npu_scatter_nd_update,
    "npu::npu_scatter_nd_update_": npu_scatter_nd_update_,
    "npu::npu_scatter_pa_kv_cache": npu_scatter_pa_kv_cache,
    "atb::_npu_reshape_and_cache": npu_reshape_and_cache,
    "npu::npu_fusion_attention": npu_fusion_attention,
    "npu::npu_weight_quant_batchmatmul": npu_weight_quant_batchmatmul,
    "npu::npu_convert_weight_to_int4pack": npu_convert_weight_to_int4pack,
    "npu::npu_moe_gating_top_k": npu_moe_gating_top_k,
    "npu::npu_moe_gating_top_k_softmax": npu_moe_gating_top_k_softmax,
    "npu::npu_top_k_top_p": npu_top_k_top_p,
}
"""Schema name to function; each checks its contract, then computes on CPU or CUDA tensors."""
