"""Calls of the operators that write a paged cache: legal ones, and one broken call for each rule."""

from __future__ import annotations

from typing import Any

import torch

from workbench.kernels.calls.common import Call, half, ints

PA = "npu::npu_scatter_pa_kv_cache"
ATB = "atb::_npu_reshape_and_cache"


def pa_norm(**changes: Any) -> dict[str, Any]:
    """3 tokens into 4 blocks of 8."""
    return {
        "key": half(3, 2, 16),
        "value": half(3, 2, 16),
        "key_cache": half(4, 8, 2, 16),
        "value_cache": half(4, 8, 2, 16),
        "slot_mapping": torch.tensor([3, 31, 8]),
        "cache_mode": "Norm",
    } | changes


def pa_nz(**changes: Any) -> dict[str, Any]:
    """`pa_norm` in the fractal form."""
    return pa_norm(key_cache=half(4, 2, 8, 16), value_cache=half(4, 2, 8, 16), cache_mode="PA_NZ") | changes


def atb(**changes: Any) -> dict[str, Any]:
    """`pa_norm` under the names of the ATB form, one token skipped."""
    call = pa_norm(slot_indices=torch.tensor([3, -1, 8], dtype=torch.int32)) | changes
    return {name: value for name, value in call.items() if name not in {"slot_mapping", "cache_mode"}}


LEGAL: dict[str, Call] = {"pa_norm": (PA, pa_norm), "pa_nz": (PA, pa_nz), "atb": (ATB, atb)}

BROKEN: dict[str, Call] = {
    "NPU-PA-DTYPE": (PA, lambda: pa_norm(key_cache=half(4, 8, 2, 16).half())),
    "NPU-PA-MODE": (PA, lambda: pa_norm(cache_mode="NHSD")),
    "NPU-PA-RANK": (PA, lambda: pa_norm(value=half(4, 2, 16))),
    "NPU-PA-CACHE": (PA, lambda: {k: v for k, v in pa_norm().items() if k != "cache_mode"}),
    "NPU-PA-NZ-DIM": (
        PA,
        lambda: pa_nz(
            key=half(3, 2, 8), value=half(3, 2, 8), key_cache=half(4, 1, 8, 16), value_cache=half(4, 1, 8, 16)
        ),
    ),
    "NPU-PA-CONTIGUOUS": (PA, lambda: pa_norm(key=half(2, 3, 16).transpose(0, 1))),
    "NPU-PA-SLOTS": (PA, lambda: pa_norm(slot_mapping=torch.tensor([3, 31]))),
    "NPU-PA-SLOT-NEGATIVE": (PA, lambda: pa_norm(slot_mapping=torch.tensor([3, -1, 8]))),
    "NPU-PA-SLOT-BOUND": (PA, lambda: pa_norm(slot_mapping=torch.tensor([3, 32, 8]))),
    "NPU-PA-SLOT-UNIQUE": (PA, lambda: pa_norm(slot_mapping=torch.tensor([3, 8, 8]))),
    "NPU-ATB-CACHE-DTYPE": (ATB, lambda: atb(value_cache=half(4, 8, 2, 16).half())),
    "NPU-ATB-CACHE-SHAPE": (ATB, lambda: atb(key_cache=half(4, 2, 8, 16))),
    "NPU-ATB-CACHE-CONTIGUOUS": (ATB, lambda: atb(key=half(2, 3, 16).transpose(0, 1))),
    "NPU-ATB-CACHE-UNIT": (
        ATB,
        lambda: atb(
            key=half(3, 3, 4), value=half(3, 3, 4), key_cache=half(4, 8, 3, 4), value_cache=half(4, 8, 3, 4)
        ),
    ),
    "NPU-ATB-SLOTS": (ATB, lambda: atb(slot_indices=torch.tensor([3, 31, 8]))),
    "NPU-ATB-SLOT-BOUND": (ATB, lambda: atb(slot_indices=ints(3, 32, 8))),
    "NPU-ATB-SLOT-UNIQUE": (ATB, lambda: atb(slot_indices=ints(3, 8, 8))),
}
