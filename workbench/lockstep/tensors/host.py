"""Tensors of any device as host arrays, without changing a bit that matters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tracing import stage_validation


def host_floats(tensor: Any) -> NDArray[Any]:
    """Return floats on the host; those of less than 32 bits widen to float32 (exact), others stay."""
    if isinstance(tensor, np.ndarray):
        return tensor
    tensor = tensor.detach()
    if tensor.is_floating_point() and tensor.element_size() < 4:
        tensor = tensor.float()
    array: NDArray[Any] = tensor.cpu().numpy()
    return array


def row_bytes(kv_rows: Any) -> NDArray[np.uint8]:
    """Lay out cache rows for hashing: `[R, bytes]`, per row layer by layer, K then V, native dtype.

    Args:
        kv_rows: `[layers, 2, kv_heads, R, D]`.
    """
    rows = kv_rows.detach().permute(3, 0, 1, 2, 4).contiguous().cpu()  # [R, layers, 2, kv_heads, D]
    array: NDArray[np.uint8] = rows.view(torch.uint8).reshape(rows.shape[0], -1).numpy()
    return array


def validated(stage: str, result: Any, sizes: Mapping[str, int]) -> Any:
    """Return a copy of a stage's result, with tensors; see `tracing.stage_validation.validated`.

    Raises:
        InvalidStageResultError: It does not have the form of that stage's result.
    """
    return stage_validation.validated(stage, result, sizes, torch.from_numpy)
