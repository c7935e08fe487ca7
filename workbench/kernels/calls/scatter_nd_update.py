"""Calls of `npu_scatter_nd_update` and its in-place form: legal ones, and one broken call for each rule."""

from __future__ import annotations

from typing import Any

import torch

from workbench.kernels.calls.common import Call, half

SCATTER = "npu::npu_scatter_nd_update"


def scatter(**changes: Any) -> dict[str, Any]:
    """2 rows into 6 x 3 of them."""
    return {
        "input": half(6, 3, 4),
        "indices": torch.tensor([[0, 2], [5, 1]]),
        "updates": half(2, 4),
    } | changes


def overlapping_scatter() -> dict[str, Any]:
    """Updates that are a view of the tensor they go to."""
    target = half(6, 3)
    return {"input": target, "indices": torch.tensor([[5], [4]]), "updates": target[:2]}


LEGAL: dict[str, Call] = {"scatter": (SCATTER, scatter), "scatter_": ("npu::npu_scatter_nd_update_", scatter)}

BROKEN: dict[str, Call] = {
    "NPU-SCATTER-DTYPE": (SCATTER, lambda: scatter(input=half(6, 3, 4).int(), updates=half(2, 4).int())),
    "NPU-SCATTER-UPDATE-DTYPE": (SCATTER, lambda: scatter(updates=half(2, 4).half())),
    "NPU-SCATTER-INDEX-DTYPE": (SCATTER, lambda: scatter(indices=torch.tensor([[0, 2], [5, 1]]).short())),
    "NPU-SCATTER-INDEX-RANK": (SCATTER, lambda: scatter(indices=torch.tensor([0, 5]), updates=half(2, 3, 4))),
    "NPU-SCATTER-UPDATE-SHAPE": (SCATTER, lambda: scatter(updates=half(1, 4))),
    "NPU-SCATTER-BOUNDS": (SCATTER, lambda: scatter(indices=torch.tensor([[0, 2], [5, -1]]))),
    "NPU-SCATTER-UNIQUE": (SCATTER, lambda: scatter(indices=torch.tensor([[5, 1], [5, 1]]))),
    "NPU-SCATTER-ALIAS": (f"{SCATTER}_", overlapping_scatter),
}
