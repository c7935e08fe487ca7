"""Anything array-like to a numpy array on the host, without importing the library it came from."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tracing.errors import ShapeMismatchError


def host_array(value: Any, name: str) -> NDArray[Any]:
    """Return `value` as a numpy array, masked where it has nulls; never a promise of a copy.

    bfloat16 and smaller floats become float32, which holds each of their values exactly.

    Args:
        value: numpy (masked too), torch on any device, Arrow, a list, or an object with `__array__` or
            DLPack.
        name: What it is called in the error.

    Raises:
        ShapeMismatchError: It is not array-like.
    """
    if isinstance(value, np.ndarray):
        return _widened(value)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _from_torch(value, torch, name)
    if isinstance(value, (pa.Array, pa.ChunkedArray, pa.ListScalar)):
        return _from_arrow(value)
    if isinstance(value, (list, tuple, range)):
        return _from_list(list(value), name)
    return _widened(_from_protocol(value, name))


def _from_torch(tensor: Any, torch: Any, name: str) -> NDArray[Any]:
    """Copy a tensor of any device to the host; numpy has no bfloat16 or float8, so those widen first."""
    native = (torch.float16, torch.float32, torch.float64)
    try:
        tensor = tensor.detach()
        if tensor.dtype.is_floating_point and tensor.dtype not in native:
            tensor = tensor.float()
        array: NDArray[Any] = tensor.cpu().resolve_conj().resolve_neg().numpy()
    except (RuntimeError, TypeError) as problem:
        raise ShapeMismatchError(f"{name} could not be brought to the host: {problem}") from problem
    return array


def _widened(array: NDArray[Any]) -> NDArray[Any]:
    """Widen the float types that other libraries register with numpy (`ml_dtypes.bfloat16`)."""
    if array.dtype.kind == "V" and "float" in array.dtype.name:
        return array.astype(np.float32)
    return array


def _from_arrow(value: Any) -> NDArray[Any]:
    """Return Arrow values, masked where null; lists of lists keep their shape when it is regular."""
    return _from_list(value.as_py() if isinstance(value, pa.ListScalar) else value.to_pylist(), "Arrow array")


def _from_list(values: list[Any], name: str) -> NDArray[Any]:
    """Return a list as an array: None becomes masked, integers stay integers whatever their size."""
    try:
        array = np.array(values)
        if array.dtype.kind in "biuf" and not _lost_integers(array, values):
            return array
        array = np.array(values, dtype=object)
    except (ValueError, TypeError, OverflowError) as problem:
        raise ShapeMismatchError(
            f"{name} should be a regular array, got a list that is none: {problem}"
        ) from None
    return _from_objects(array)


def _lost_integers(array: NDArray[Any], values: list[Any]) -> bool:
    """True where numpy turned Python integers beyond int64 into rounded floats."""
    is_rounded = array.dtype.kind == "f" and array.ndim == 1 and bool(values)
    return is_rounded and all(type(value) is int for value in values)


def _from_objects(array: NDArray[Any]) -> NDArray[Any]:
    """Turn None into a mask; an array that is still of objects is refused by its dtype later."""
    missing = np.array([item is None for item in array.ravel()], np.bool_).reshape(array.shape)
    if not missing.any():
        return array
    values = array[~missing].tolist()
    present = np.array(values)
    if present.dtype.kind not in "biuf" or _lost_integers(present, values):
        present = array[~missing]
    data = np.zeros(array.shape, dtype=present.dtype)
    data[~missing] = present
    return np.ma.MaskedArray(data, mask=missing)


def _from_protocol(value: Any, name: str) -> NDArray[Any]:
    """Ask an object for its host form, by `__array__` first and DLPack second."""
    for attribute, convert in (("__array__", np.asarray), ("__dlpack__", np.from_dlpack)):
        if hasattr(value, attribute):
            try:
                return convert(value)
            except (TypeError, ValueError, RuntimeError, BufferError) as problem:
                raise ShapeMismatchError(f"{name} could not be brought to the host: {problem}") from None
    raise ShapeMismatchError(f"{name} should be array-like, got {type(value).__name__}")
