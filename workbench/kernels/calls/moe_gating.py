"""Calls of `npu_moe_gating_top_k` and its softmax form: legal ones, and one broken call for each rule."""

from __future__ import annotations

from typing import Any

import torch

from workbench.kernels.calls.common import Call, half

GATING = "npu::npu_moe_gating_top_k"
SOFTMAX = "npu::npu_moe_gating_top_k_softmax"


def gating(**changes: Any) -> dict[str, Any]:
    """5 rows over 16 experts in 4 groups, 2 kept."""
    return {"x": half(5, 16), "k": 3, "group_count": 4, "k_group": 2} | changes


def gating_softmax(**changes: Any) -> dict[str, Any]:
    """5 rows over 16 experts."""
    return {"x": half(5, 16), "k": 3} | changes


LEGAL: dict[str, Call] = {"gating": (GATING, gating), "gating_softmax": (SOFTMAX, gating_softmax)}

BROKEN: dict[str, Call] = {
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
}
