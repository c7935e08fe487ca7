"""What Ascend's documentation and host code allow, as rules with a source each.

`CHECKS` judges a call without computing anything, `RULES` lists every rule.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from workbench.npu.contracts import (
    moe,
    norms,
    paged_cache,
    quant_matmul,
    rope,
    rotary,
    sampling,
    scatter,
    swiglu,
)
from workbench.npu.contracts.fia.check import RULES as FIA_RULES
from workbench.npu.contracts.fia.check import check_call
from workbench.npu.contracts.fia.read import read_v1, read_v2
from workbench.npu.contracts.fusion.call import read_call as read_fusion
from workbench.npu.contracts.fusion.check import RULES as FUSION_RULES
from workbench.npu.contracts.fusion.check import check_call as check_fusion
from workbench.npu.contracts.rules import NotModelledError, Rule

__all__ = ["CHECKS", "RULES", "NotModelledError", "Rule"]


@wraps(read_v1)
def check_fused_infer_attention_score(*args: Any, **kwargs: Any) -> None:
    """Check one call of `npu_fused_infer_attention_score`.

    Raises:
        ContractError: naming the rule.
        NotModelledError: for arguments that the contract does not cover.
    """
    check_call(read_v1(*args, **kwargs))


@wraps(read_v2)
def check_fused_infer_attention_score_v2(*args: Any, **kwargs: Any) -> None:
    """Check one call of `npu_fused_infer_attention_score_v2`; see v1."""
    check_call(read_v2(*args, **kwargs))


@wraps(read_fusion)
def check_fusion_attention(*args: Any, **kwargs: Any) -> None:
    """Check one call of `npu_fusion_attention`; see `check_fused_infer_attention_score`."""
    check_fusion(read_fusion(*args, **kwargs))


CHECKS: Final[dict[str, Callable[..., None]]] = {
    "npu::npu_fused_infer_attention_score": check_fused_infer_attention_score,
    "npu::npu_fused_infer_attention_score_v2": check_fused_infer_attention_score_v2,
    "npu::npu_rms_norm": norms.check_rms_norm,
    "npu::npu_add_rms_norm": norms.check_add_rms_norm,
    "npu::npu_add_rms_norm_v2": norms.check_add_rms_norm_v2,
    "npu::npu_rotary_mul": rotary.check_rotary_mul,
    "npu::npu_apply_rotary_pos_emb": rope.check_apply_rotary_pos_emb,
    "npu::npu_swiglu": swiglu.check_swiglu,
    "npu::npu_scatter_nd_update": scatter.check_scatter_nd_update,
    "npu::npu_scatter_nd_update_": scatter.check_scatter_nd_update_,
    "npu::npu_scatter_pa_kv_cache": paged_cache.check_scatter_pa_kv_cache,
    "atb::_npu_reshape_and_cache": paged_cache.check_reshape_and_cache,
    "npu::npu_fusion_attention": check_fusion_attention,
    "npu::npu_weight_quant_batchmatmul": quant_matmul.check_weight_quant_batchmatmul,
    "npu::npu_convert_weight_to_int4pack": quant_matmul.check_convert_weight_to_int4pack,
    "npu::npu_moe_gating_top_k": moe.check_moe_gating_top_k,
    "npu::npu_moe_gating_top_k_softmax": moe.check_moe_gating_top_k_softmax,
    "npu::npu_top_k_top_p": sampling.check_top_k_top_p,
}
"""Schema name to check; parameters as the operator's. `NotModelledError`: nothing was looked at."""

RULES: Final[tuple[Rule, ...]] = (
    *FIA_RULES,
    *norms.RULES,
    *rotary.RULES,
    *rope.RULES,
    *swiglu.RULES,
    *scatter.RULES,
    *paged_cache.RULES,
    *FUSION_RULES,
    *quant_matmul.RULES,
    *moe.RULES,
    *sampling.RULES,
)
"""Every rule, one entry each."""
