"""Every operator that the twin covers, by the name under which its schema is registered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from workbench.npu.ops.fia import npu_fused_infer_attention_score, npu_fused_infer_attention_score_v2
from workbench.npu.ops.norms import npu_add_rms_norm, npu_add_rms_norm_v2, npu_rms_norm
from workbench.npu.ops.rotary import npu_rotary_mul
from workbench.npu.ops.swiglu import npu_swiglu

TWINS: Final[dict[str, Callable[..., Any]]] = {
    "npu::npu_fused_infer_attention_score": npu_fused_infer_attention_score,
    "npu::npu_fused_infer_attention_score_v2": npu_fused_infer_attention_score_v2,
    "npu::npu_rms_norm": npu_rms_norm,
    "npu::npu_add_rms_norm": npu_add_rms_norm,
    "npu::npu_add_rms_norm_v2": npu_add_rms_norm_v2,
    "npu::npu_rotary_mul": npu_rotary_mul,
    "npu::npu_swiglu": npu_swiglu,
}
"""Schema name to function; each checks its contract, then computes on CPU or CUDA tensors."""
