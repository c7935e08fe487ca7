"""Calls of `npu_apply_rotary_pos_emb`: legal ones, and one broken call for each rule."""

from __future__ import annotations

from typing import Any

import torch

from workbench.kernels.calls.common import Call, aliased, half

ROPE = "npu::npu_apply_rotary_pos_emb"


def rope(**changes: Any) -> dict[str, Any]:
    """BSND: 4 heads beside 2, D = 64."""
    table = torch.linspace(-1, 1, 2 * 5 * 64).view(2, 5, 1, 64).bfloat16()
    return {
        "query": half(2, 5, 4, 64),
        "key": half(2, 5, 2, 64),
        "cos": table,
        "sin": table.flip(1),
    } | changes


LEGAL: dict[str, Call] = {"rope": (ROPE, rope)}

BROKEN: dict[str, Call] = {
    "NPU-ROPE-DTYPE": (ROPE, lambda: rope(key=half(2, 5, 2, 64).half())),
    "NPU-ROPE-LAYOUT": (ROPE, lambda: rope(layout="BNSD")),
    "NPU-ROPE-MODE": (ROPE, lambda: rope(rotary_mode="interleave")),
    "NPU-ROPE-DIM": (ROPE, lambda: {k: v[..., :32].contiguous() for k, v in rope().items()}),
    "NPU-ROPE-EMPTY": (ROPE, lambda: rope(key=half(2, 5, 0, 64))),
    "NPU-ROPE-KEY": (ROPE, lambda: rope(key=half(2, 4, 2, 64))),
    "NPU-ROPE-TABLES": (ROPE, lambda: rope(cos=half(1, 5, 1, 64))),
    "NPU-ROPE-CONTIGUOUS": (ROPE, lambda: rope(key=half(2, 2, 5, 64).transpose(1, 2))),
    "NPU-ROPE-ALIAS": (ROPE, aliased(rope, "query", "key")),
}
