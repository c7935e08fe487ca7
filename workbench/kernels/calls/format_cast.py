"""Calls of `npu_format_cast`: a legal one, and one broken call for each rule."""

from __future__ import annotations

from typing import Any

import torch

from workbench.kernels.calls.common import Call, half

CAST = "npu::npu_format_cast"


def cast(**changes: Any) -> dict[str, Any]:
    """3 rows of 64 values, to FRACTAL_NZ."""
    return {"input": half(3, 64), "acl_format": 29} | changes


LEGAL: dict[str, Call] = {"format_cast": (CAST, cast)}

BROKEN: dict[str, Call] = {
    "NPU-FORMAT-RANK": (CAST, lambda: cast(input=half(64))),
    "NPU-FORMAT-DTYPE": (CAST, lambda: cast(input=torch.zeros(3, 64, dtype=torch.int64))),
}
