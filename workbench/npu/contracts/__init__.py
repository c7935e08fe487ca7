"""What Ascend's documentation and host code allow, as rules with a source each.

`CHECKS` judges a call without computing anything, `RULES` lists every rule.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from workbench.npu.contracts import norms, rotary, swiglu
from workbench.npu.contracts.fia.check import check_call
from workbench.npu.contracts.fia.read import read_v1, read_v2
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


CHECKS: Final[dict[str, Callable[..., None]]] = {
    "npu::npu_fused_infer_attention_score": check_fused_infer_attention_score,
    "npu::npu_fused_infer_attention_score_v2": check_fused_infer_attention_score_v2,
    "npu::npu_rms_norm": norms.check_rms_norm,
    "npu::npu_add_rms_norm": norms.check_add_rms_norm,
    "npu::npu_add_rms_norm_v2": norms.check_add_rms_norm_v2,
    "npu::npu_rotary_mul": rotary.check_rotary_mul,
    "npu::npu_swiglu": swiglu.check_swiglu,
}
"""Schema name to check; parameters as the operator's. `NotModelledError`: nothing was looked at."""

RULES: Final[tuple[Rule, ...]] = (*norms.RULES, *rotary.RULES, *swiglu.RULES)
"""Every rule, one entry each."""
