"""A pretended device: tensors that say they lie elsewhere, and are computed on the host.

Real values flow, so whole decodes run. What a device refuses is refused: operators over tensors of two
devices (but scalars of the host), and `numpy()` of a tensor that was not copied to the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from workbench.npu.operators import OPERATORS

ELSEWHERE = torch.device("lazy:0")
"""A device type that torch knows, has no kernels for and does not initialise."""
HOST = torch.device("cpu")
COPIES = {"copy", "copy_", "_to_copy", "to"}
"""Operators that move values between devices."""


class MixedDevicesError(RuntimeError):
    """An operator was given tensors of the host and of the pretended device."""


class Elsewhere(Tensor):
    """A tensor on the pretended device; `held` is its memory."""

    held: Tensor

    @staticmethod
    def __new__(cls: type[Elsewhere], held: Tensor) -> Elsewhere:
        made = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=ELSEWHERE,
            requires_grad=False,
        )
        made.held = held
        return made

    def tolist(self) -> Any:
        return self.held.tolist()

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def untyped_storage(self) -> Any:
        return self.held.untyped_storage()

    def numpy(self, **_: Any) -> Any:
        raise TypeError("numpy() of a tensor of the pretended device; copy it to the host first")

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with pretended():
            return func(*args, **(kwargs or {}))


def is_elsewhere(device: Any) -> bool:
    return device is not None and torch.device(device).type == ELSEWHERE.type


class _Pretend(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        values = tree_flatten((args, kwargs))[0]
        tensors = [one for one in values if isinstance(one, Tensor)]
        inside = [one for one in tensors if isinstance(one, Elsewhere)]
        outside = [one for one in tensors if not isinstance(one, Elsewhere) and one.dim() > 0]
        name = func.__name__.split(".")[0]
        if inside and outside and name not in COPIES and not _indexes(name, args, outside):
            raise MixedDevicesError(f"{func} was given tensors of the host and of the device")
        if func.namespace in {"npu", "atb"}:  # the emulation itself, so that what it creates is seen too
            with pretended():
                return OPERATORS[func._schema.name](*args, **kwargs)
        targets = [one for one in values if isinstance(one, torch.device)]
        lands = is_elsewhere(targets[0]) if targets else bool(inside)
        result = func(*tree_map(_held, args), **tree_map(_held, kwargs))
        if name.endswith("_") and not name.endswith("__") and isinstance(args[0], Tensor):
            return args[0]
        return tree_map(_moved, result) if lands else result


class _Constructors(TorchFunctionMode):
    """`torch.tensor` and its like ask a device for a guard, which this one does not have: host first."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in {torch.tensor, torch.as_tensor} and is_elsewhere(kwargs.get("device")):
            kwargs["device"] = HOST
            return func(*args, **kwargs).to(ELSEWHERE)
        if func is Tensor.new_tensor and isinstance(args[0], Elsewhere):
            values = tree_map(lambda one: one.item() if isinstance(one, Tensor) else one, args[1])
            return torch.tensor(values, dtype=kwargs.get("dtype", args[0].dtype)).to(ELSEWHERE)
        return func(*args, **kwargs)


def _indexes(name: str, args: Any, outside: list[Tensor]) -> bool:
    """Whether the host's tensors are indices of `index` or `index_put`, which devices take from the host."""
    if name not in {"index", "index_put", "index_put_"} or not isinstance(args[0], Elsewhere):
        return False
    return all(any(one is index for index in args[1]) for one in outside)


def _held(value: Any) -> Any:
    if isinstance(value, torch.device) and is_elsewhere(value):
        return HOST
    return value.held if isinstance(value, Elsewhere) else value


def _moved(value: Any) -> Any:
    return Elsewhere(value) if isinstance(value, Tensor) else value


@contextmanager
def pretended() -> Iterator[None]:
    """Let the body create tensors on the pretended device and compute with them."""
    with _Pretend(), _Constructors():
        yield
