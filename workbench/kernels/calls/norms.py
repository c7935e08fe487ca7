"""Calls of `npu_rms_norm` and its forms with an addition: legal ones, and one broken call for each rule."""

from __future__ import annotations

from typing import Any

from workbench.kernels.calls.common import Call, aliased, half

RMS = "npu::npu_rms_norm"
ADD = "npu::npu_add_rms_norm"


def rms(**changes: Any) -> dict[str, Any]:
    """3 rows of 8."""
    return {"input": half(3, 8), "gamma": half(8)} | changes


def add_rms(**changes: Any) -> dict[str, Any]:
    """3 rows of 8 and 3 more."""
    return {"x1": half(3, 8), "x2": half(3, 8), "gamma": half(8)} | changes


LEGAL: dict[str, Call] = {
    "rms": (RMS, rms),
    "add_rms": (ADD, add_rms),
    "add_rms_v2": ("npu::npu_add_rms_norm_v2", add_rms),
}

BROKEN: dict[str, Call] = {
    "NPU-RMS-DTYPE": (RMS, lambda: rms(input=half(3, 8).double())),
    "NPU-RMS-DTYPE-PAIR": (RMS, lambda: rms(gamma=half(8).half())),
    "NPU-RMS-GAMMA-SHAPE": (RMS, lambda: rms(gamma=half(4))),
    "NPU-RMS-EPSILON": (RMS, lambda: rms(epsilon=-1.0)),
    "NPU-ADDRMS-SHAPE": (ADD, lambda: add_rms(x2=half(1, 8))),
    "NPU-ADDRMS-DTYPE": (ADD, lambda: add_rms(gamma=half(8).float())),
    "NPU-ADDRMS-GAMMA-SHAPE": (ADD, lambda: add_rms(gamma=half(3))),
    "NPU-ADDRMS-EMPTY": (ADD, lambda: add_rms(x1=half(0, 8), x2=half(0, 8))),
    "NPU-ADDRMS-EPSILON": (ADD, lambda: add_rms(epsilon=float("nan"))),
    "NPU-ADDRMS-ALIAS": (f"{ADD}_v2", aliased(add_rms, "x1", "x2")),
}
