"""Tensors of any device as host arrays, without changing a bit that matters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tracing import stage_validation
from tracing.stage_validation import InvalidStageResultError


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


def plain_tensor(name: str, value: Any) -> torch.Tensor:
    """Return a dense tensor that holds its values, without history, class or hooks of its own.

    Args:
        name: What it is called in the error.
        value: A tensor, of any subclass, or an array.

    Raises:
        InvalidStageResultError: It is none, or holds no values (`meta`), or not all of them (sparse).
    """
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.array(value))
    if not isinstance(value, torch.Tensor):
        raise InvalidStageResultError(name, "a tensor", type(value).__name__)
    if value.is_meta:
        raise InvalidStageResultError(name, "a tensor that holds values", "one on the device meta")
    if value.layout != torch.strided or value.is_quantized or value.is_nested:
        raise InvalidStageResultError(name, "a dense tensor", f"one of layout {value.layout}")
    plain = value.detach().clone()  # what a subclass computes lazily, it computes here
    with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001  its own methods end here
        plain = plain.as_subclass(torch.Tensor)
        if plain.is_meta or (plain.numel() and not plain.data_ptr()):
            raise InvalidStageResultError(name, "a tensor that holds values", "one without storage")
        return plain.resolve_conj().resolve_neg()


def validated(stage: str, result: Any, sizes: Mapping[str, int]) -> Any:
    """Return a copy of a stage's result, with tensors; see `tracing.stage_validation.validated`.

    Raises:
        InvalidStageResultError: It does not have the form of that stage's result.
    """
    return stage_validation.validated(stage, result, sizes, plain_tensor)
