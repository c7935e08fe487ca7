"""Tensors of draws, and computing with them.

A tensor of draws holds its numbers as an array of objects beside a tensor of NaN. Moving, comparing and
computing elementwise is followed; anything else gives up, and the verifier gets plain numbers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch._C import DisableTorchFunctionSubclass

from workbench.lossless.expressions import Uncertain
from workbench.lossless.forks import OpaqueDrawError

ELEMENTWISE: Final[Mapping[str, Callable[..., Any]]] = {
    **{
        name: getattr(operator, name)
        for name in ("add", "sub", "mul", "truediv", "lt", "le", "gt", "ge", "neg", "pow")
    },
    "div": operator.truediv,
    "true_divide": operator.truediv,
    "rsub": lambda one, other: other - one,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "log": lambda one: one.log() if isinstance(one, Uncertain) else float(np.log(one)),
    "exp": lambda one: one.exp() if isinstance(one, Uncertain) else float(np.exp(one)),
    "reciprocal": lambda one: 1 / one,
    "eq": lambda one, other: False if _uncertain(one, other) else one == other,
    "ne": lambda one, other: True if _uncertain(one, other) else one != other,
    "isnan": lambda one: False if _uncertain(one) else bool(np.isnan(one)),
    "isinf": lambda one: False if _uncertain(one) else bool(np.isinf(one)),
    "where": lambda condition, one, other: one if condition else other,
    "maximum": max,
    "minimum": min,
}
"""Functions of torch by what they do to each element."""
REFLECTED: Final = {"radd": "add", "rmul": "mul", "rtruediv": "truediv", "rdiv": "truediv", "rpow": "pow"}
MOVING: Final = frozenset({
    "view", "reshape", "expand", "expand_as", "unsqueeze", "squeeze", "flatten", "__getitem__", "gather",
    "index_select", "t", "transpose", "permute", "narrow", "clone", "detach", "contiguous", "flip",
    "repeat", "repeat_interleave", "select", "movedim", "broadcast_to", "view_as", "reshape_as", "chunk",
    "split", "unbind", "cat", "stack", "take_along_dim",
})  # fmt: skip
"""Functions that only move elements."""
SAME: Final = frozenset(
    {"to", "float", "double", "half", "bfloat16", "type", "type_as", "cpu", "requires_grad_", "pin_memory"}
)
"""Functions that keep the elements; what a shorter format rounds off is not followed."""
FACTS: Final = frozenset({
    "__get__", "size", "dim", "numel", "stride", "is_contiguous", "is_floating_point", "ndimension",
    "element_size", "is_complex", "__len__",
})  # fmt: skip
"""Functions that look at form only."""


def _uncertain(*values: Any) -> bool:
    return any(isinstance(value, Uncertain) for value in values)


class DrawTensor(torch.Tensor):
    """A tensor whose numbers depend on draws.

    Attributes:
        draws: Its elements, object array of the same shape.
    """

    draws: Any


def as_tensor(values: Any, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return an array of objects as a tensor: of draws if there is one among them, else a plain one."""
    array = np.asarray(values, dtype=object)
    flat = array.ravel().tolist() if array.ndim else [array[()]]
    if not any(isinstance(each, Uncertain) for each in flat):
        kind = torch.bool if flat and all(isinstance(each, (bool, np.bool_)) for each in flat) else dtype
        numbers = [bool(each) if kind is torch.bool else float(each) for each in flat]
        return torch.tensor(numbers, dtype=kind or torch.float64).reshape(array.shape)
    with DisableTorchFunctionSubclass():
        tensor = torch.full(array.shape, float("nan"), dtype=dtype or torch.float64).as_subclass(DrawTensor)
    tensor.draws = array
    return tensor


def _elements(value: Any) -> Any:
    """Return the elements of a tensor or number as objects."""
    if isinstance(value, DrawTensor):
        return value.draws
    if isinstance(value, torch.Tensor):
        return np.array(value.detach().tolist(), dtype=object)
    wrapped = np.empty((), dtype=object)
    wrapped[()] = value
    return wrapped


def _float_type(*values: Any) -> torch.dtype:
    kinds = [each.dtype for each in values if isinstance(each, torch.Tensor) and each.dtype.is_floating_point]
    return kinds[0] if kinds else torch.float64


def _elementwise(function: Callable[..., Any], *values: Any) -> Any:
    arrays = np.broadcast_arrays(*map(_elements, values))
    result = np.empty(arrays[0].shape, dtype=object)
    for place in np.ndindex(*result.shape):
        result[place] = function(*(each[place] for each in arrays))
    return as_tensor(result, _float_type(*values))


def _moved(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Move elements by moving their numbers in a list."""
    store: list[Any] = []

    def numbered(value: Any) -> Any:
        if isinstance(value, (list, tuple)) and any(isinstance(each, torch.Tensor) for each in value):
            return type(value)(map(numbered, value))
        if not isinstance(value, torch.Tensor) or value.dtype in (torch.bool, torch.int64, torch.int32):
            return value
        elements = _elements(value).ravel().tolist()
        store.extend(elements)
        first = len(store) - len(elements)
        return torch.arange(first, len(store)).reshape(value.shape)

    kind = _float_type(*args, *(args[0] if isinstance(args[0], (list, tuple)) else ()))
    with DisableTorchFunctionSubclass():
        moved = function(*map(numbered, args), **options)

    def back(indices: Any) -> Any:
        if isinstance(indices, (list, tuple)):
            return type(indices)(map(back, indices))
        picked = np.empty(tuple(indices.shape), dtype=object)
        for place in np.ndindex(*picked.shape):
            picked[place] = store[int(indices[place])]
        return as_tensor(picked, kind)

    with DisableTorchFunctionSubclass():
        return back(moved)


def _extreme(
    tensor: DrawTensor, dim: int | None = None, keepdim: bool = False, *, greatest: bool
) -> torch.Tensor:
    array = tensor.draws
    flat = array.reshape(1, -1) if dim is None else np.moveaxis(array, dim, -1)
    found = np.empty(flat.shape[:-1], dtype=np.int64)
    for place in np.ndindex(*found.shape):
        best, row = 0, flat[place]
        for at in range(1, len(row)):
            if (row[at] > row[best]) if greatest else (row[at] < row[best]):
                best = at
        found[place] = best
    if dim is None:
        return torch.tensor(int(found[0]))
    return torch.from_numpy(np.expand_dims(found, dim) if keepdim else found)


def followed(function: Any, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Do to the elements of a tensor of draws what a function of torch does."""
    plain = name.strip("_")
    if plain in REFLECTED:
        plain, args = REFLECTED[plain], args[::-1]
    if plain in ELEMENTWISE:
        result = _elementwise(ELEMENTWISE[plain], *args)
        return become(args[0], result) if name.endswith("_") and not name.endswith("__") else result
    special = SPECIAL.get(plain if plain in ("argmax", "argmin") else name)
    if special is not None:
        return special(*args, **options)
    if name in MOVING:
        return _moved(function, args, options)
    if name in FACTS:
        with DisableTorchFunctionSubclass():
            return function(*args, **options)
    raise OpaqueDrawError


def _picked(tensor: Any, key: Any) -> Any:
    if isinstance(tensor, DrawTensor) and _is_basic(key):
        return _view(tensor, key)
    return _moved(torch.Tensor.__getitem__, (tensor, key), {})


def _same(tensor: DrawTensor, *args: Any, **options: Any) -> Any:
    """Return the same elements, perhaps called another type."""
    kinds = [each for each in (*args, *options.values()) if isinstance(each, torch.dtype)]
    return as_tensor(tensor.draws, kinds[0] if kinds else tensor.dtype)


def _running(function: Callable[..., Any], tensor: DrawTensor, dim: int = -1) -> Any:
    return as_tensor(function(tensor.draws, axis=dim), tensor.dtype)


def _item(tensor: DrawTensor) -> Any:
    return tensor.draws.reshape(-1)[0]


def _is_basic(key: Any) -> bool:
    keys = key if isinstance(key, tuple) else (key,)
    return all(each is None or each is Ellipsis or isinstance(each, (int, slice)) for each in keys)


def _view(tensor: DrawTensor, key: Any) -> Any:
    """Return a part that shares its elements with the whole, so that filling it fills the whole."""
    part = tensor.draws[key] if key is not None else tensor.draws[None]
    if not isinstance(part, np.ndarray):
        wrapped = np.empty((), dtype=object)
        wrapped[()] = part
        part = wrapped
    with DisableTorchFunctionSubclass():
        view = torch.full(part.shape, float("nan"), dtype=tensor.dtype).as_subclass(DrawTensor)
    view.draws = part
    return view


def _set(tensor: Any, key: Any, value: Any) -> None:
    if not isinstance(tensor, DrawTensor):  # a plain tensor becomes one of draws
        if not tensor.dtype.is_floating_point:
            raise OpaqueDrawError
        become(tensor, _elements(tensor))
    places = key.numpy() if isinstance(key, torch.Tensor) else key
    tensor.draws[places] = _elements(value)


def become(tensor: Any, values: Any) -> Any:
    """Let a tensor hold these elements from now on, in place."""
    elements = _elements(values) if isinstance(values, torch.Tensor) else values
    if isinstance(tensor, DrawTensor):
        tensor.draws[...] = elements
        return tensor
    if not isinstance(tensor, torch.Tensor):
        raise OpaqueDrawError
    if not any(isinstance(each, Uncertain) for each in np.asarray(elements, dtype=object).ravel().tolist()):
        with DisableTorchFunctionSubclass():
            tensor.copy_(torch.tensor(np.asarray(elements, dtype=np.float64)))
        return tensor
    tensor.__class__ = DrawTensor
    filled: Any = tensor
    filled.draws = np.array(elements, dtype=object)
    with DisableTorchFunctionSubclass():
        tensor.fill_(float("nan"))
    return tensor


SPECIAL: Final[Mapping[str, Callable[..., Any]]] = {
    "__setitem__": _set,
    "__getitem__": _picked,
    "argmax": partial(_extreme, greatest=True),
    "argmin": partial(_extreme, greatest=False),
    "cumprod": partial(_running, np.multiply.accumulate),
    "cumsum": partial(_running, np.add.accumulate),
    "item": _item,
    "tolist": lambda tensor: tensor.draws.tolist(),
    **dict.fromkeys(SAME, _same),
}
"""Functions that are more than moving or computing elementwise."""
