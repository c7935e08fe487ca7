"""Calls of `npu_rotary_mul`: legal ones, and one broken call for each rule."""

from __future__ import annotations

from typing import Any

import torch

from workbench.kernels.calls.common import Call, half

ROTARY = "npu::npu_rotary_mul"


def rotary(**changes: Any) -> dict[str, Any]:
    """BSND with tables 1S1D."""
    table = torch.linspace(-1, 1, 5 * 64).view(1, 5, 1, 64).bfloat16()
    return {"input": half(2, 5, 4, 64), "r1": table, "r2": table.flip(1)} | changes


def bnsd_rotary() -> dict[str, Any]:
    """A short tree in BNSD: 32 heads, 2 rows."""
    table = torch.zeros(1, 1, 2, 64).bfloat16()
    return rotary(input=half(1, 32, 2, 64), r1=table, r2=table)


LEGAL: dict[str, Call] = {"rotary": (ROTARY, rotary)}

BROKEN: dict[str, Call] = {
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
}
