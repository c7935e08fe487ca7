"""Calls of `npu_top_k_top_p`: legal ones, and one broken call for each rule."""

from __future__ import annotations

from typing import Any

import torch

from workbench.kernels.calls.common import Call, half, ints

TOP = "npu::npu_top_k_top_p"


def top(**changes: Any) -> dict[str, Any]:
    """3 rows of 20 logits."""
    return {
        "logits": half(3, 20),
        "p": torch.tensor([0.5, 0.9, 1.0]).bfloat16(),
        "k": torch.tensor([1, 5, 20], dtype=torch.int32),
    } | changes


LEGAL: dict[str, Call] = {"top": (TOP, top)}

BROKEN: dict[str, Call] = {
    "NPU-TOPKP-LOGITS": (TOP, lambda: top(logits=half(1, 3, 20))),
    "NPU-TOPKP-BOTH": (TOP, lambda: {k: v for k, v in top().items() if k != "p"}),
    "NPU-TOPKP-P": (TOP, lambda: top(p=torch.ones(3))),
    "NPU-TOPKP-K": (TOP, lambda: top(k=torch.tensor([1, 5, 20]))),
    "NPU-TOPKP-K-RANGE": (TOP, lambda: top(k=ints(1, 0, 20))),
}
