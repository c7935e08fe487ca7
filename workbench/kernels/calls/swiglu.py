"""Calls of `npu_swiglu`: legal ones, and one broken call for each rule."""

from __future__ import annotations

from typing import Any

from workbench.kernels.calls.common import Call, half

SWIGLU = "npu::npu_swiglu"


def swiglu(**changes: Any) -> dict[str, Any]:
    """3 rows of 8."""
    return {"input": half(3, 8)} | changes


LEGAL: dict[str, Call] = {"swiglu": (SWIGLU, swiglu)}

BROKEN: dict[str, Call] = {
    "NPU-SWIGLU-DTYPE": (SWIGLU, lambda: swiglu(input=half(3, 8).double())),
    "NPU-SWIGLU-RANK": (SWIGLU, lambda: swiglu(input=half(1, 1, 1, 1, 1, 1, 1, 1, 8))),
    "NPU-SWIGLU-DIM": (SWIGLU, lambda: swiglu(dim=2)),
    "NPU-SWIGLU-EMPTY": (SWIGLU, lambda: swiglu(input=half(0, 8))),
    "NPU-SWIGLU-EVEN": (SWIGLU, lambda: swiglu(input=half(3, 7))),
    "NPU-SWIGLU-CONTIGUOUS": (SWIGLU, lambda: swiglu(input=half(8, 3).t())),
}
