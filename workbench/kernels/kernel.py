"""What an operator's row is made of: cases, an exact result, a plain reference, a cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import torch
from torch import Tensor

Arguments = dict[str, Any]
Values = Literal[
    "ordinary", "nan", "inf", "denormal", "large", "ties", "empty", "strided", "tile", "keys512", "stale"
]
"""What is special about the values or shapes of a case."""
Form = Literal["static", "dynamic"]
LEVELS: Final = (1, 2, 3)
"""1 moves data, 2 computes within a row, 3 reduces over long axes or routes."""


class Draw:
    """Reproducible inputs; made on the host, so that every device gets the same.

    Args:
        seed: Of the case and the run.
    """

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> Tensor:
        """Return normal numbers."""
        return (torch.randn(*shape, generator=self._generator) * scale).to(dtype)

    def integers(self, low: int, high: int, *shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
        """Return numbers from `low` to `high - 1`."""
        return torch.randint(low, high, shape, generator=self._generator).to(dtype)

    def permutation(self, size: int) -> Tensor:
        """Return int64 [size]."""
        return torch.randperm(size, generator=self._generator)


@dataclass(frozen=True, slots=True)
class Exact:
    """What one output should be.

    Attributes:
        value: float64; in the output's own dtype where `bits`.
        dtype: Of the candidate's output.
        spread: float64, root of the sum of squares of the terms that make each element; rounding errors of
            the terms add up to a few units of it. None is the value's own size.
        terms: Length of the longest sum behind an element.
        floor: float64, error that underflow in float32 on the way excuses in any dtype; None is none.
        bits: Whether the output is moved, counted or chosen, so that its bits are to be equal.
        free: Bool, elements that nobody promises anything of; None is none.
    """

    value: Tensor
    dtype: torch.dtype
    spread: Tensor | None = None
    terms: int = 1
    floor: Tensor | None = None
    bits: bool = False
    free: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """One call.

    Attributes:
        build: Makes the arguments by their schema names.
        form: `static`: the shape that a kernel may be built for; `dynamic`: another one.
    """

    name: str
    build: Callable[[Draw], Arguments]
    values: Values = "ordinary"
    form: Form = "static"


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a call must move and compute.

    Attributes:
        read, written: Bytes.
        operations: Floating-point operations.
        dtype: In which they are done.
    """

    read: int
    written: int
    operations: int
    dtype: torch.dtype

    @property
    def num_bytes(self) -> int:
        """Read and written together."""
        return self.read + self.written


def moved(value: Tensor, free: Tensor | None = None) -> Exact:
    """Return an output whose bits are to be equal."""
    return Exact(value, value.dtype, bits=True, free=free)


Truth = Callable[[Arguments], tuple[Exact, ...]]
Reference = Callable[[Arguments, "Order"], tuple[Tensor, ...]]


class Order:
    """An order of summation: places of an axis, as they come or shuffled.

    Args:
        seed: Of the order; None is as they come.
        device: Where the places are wanted.
    """

    def __init__(self, seed: int | None = None, device: str = "cpu") -> None:
        self._seed = seed
        self._device = device

    def of(self, size: int) -> Tensor:
        """Return int64 [size]; the same for every axis of a size."""
        if self._seed is None:
            return torch.arange(size, device=self._device)
        generator = torch.Generator().manual_seed(self._seed + size)
        return torch.randperm(size, generator=generator).to(self._device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """An operator on trial.

    Attributes:
        operator: Qualified name at the border; empty for what no operator of the vendor's does.
        level: 1 to 3; see `LEVELS`.
        rule: The published rule by which the public benchmark would judge it.
        truth: The exact outputs, in float64; shares no code with the emulation.
        reference: The outputs as plain torch computes them in the dtype of the inputs, in a given order.
        operations: Floating-point operations of a call.
        writes: Arguments that are written in place; they are judged after the call, behind the outputs.
        also_returns: Further outputs at the end that nothing is promised of.
        own: The border's implementation, where `operator` is empty.
        heavy: Makes the call that is timed; None is the first case.
        moves: Bytes that a call must read and write; None is every input and output once.
    """

    name: str
    level: int
    about: str
    rule: str
    truth: Truth
    reference: Reference
    cases: tuple[Trial, ...]
    operator: str = ""
    operations: Callable[[Arguments], int] = field(default=lambda _: 0)
    writes: tuple[str, ...] = ()
    also_returns: int = 0
    own: Callable[..., Any] | None = None
    heavy: Callable[[Draw], Arguments] | None = None
    moves: Callable[[Arguments], tuple[int, int]] | None = None

    def case(self, name: str) -> Trial:
        """Return a case by name.

        Raises:
            KeyError: There is none.
        """
        return {case.name: case for case in self.cases}[name]


def tensors_of(arguments: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the arguments that are tensors, and those in lists of them as `name[0]`."""
    named: dict[str, Tensor] = {}
    for name, value in arguments.items():
        if isinstance(value, Tensor):
            named[name] = value
        elif isinstance(value, (list, tuple)):
            named |= {f"{name}[{at}]": one for at, one in enumerate(value) if isinstance(one, Tensor)}
    return named


def clone(arguments: Mapping[str, Any], device: str | torch.device = "cpu") -> Arguments:
    """Return the arguments with tensors of their own, strides kept, on a device."""
    return {name: _cloned(value, device) for name, value in arguments.items()}


def _cloned(value: Any, device: str | torch.device) -> Any:
    if isinstance(value, list):
        return [_cloned(one, device) for one in value]
    return _clone(value, device) if isinstance(value, Tensor) else value


def _clone(tensor: Tensor, device: str | torch.device) -> Tensor:
    """A view that skips memory keeps skipping it: a candidate may only work for contiguous tensors."""
    if tensor.is_contiguous() or tensor.numel() == 0:
        return tensor.to(device, copy=True)
    span = 1 + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    memory = torch.empty(span, dtype=tensor.dtype, device=device)
    view = memory.as_strided(tensor.shape, tensor.stride())
    view.copy_(tensor)
    return view


def num_bytes(*tensors: Tensor) -> int:
    """Return the bytes of tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def traffic(kernel: Kernel, arguments: Arguments, outputs: Sequence[Exact]) -> Traffic:
    """Return what a call must at least read and write."""
    given = tensors_of(arguments)
    read = num_bytes(*given.values())
    written = sum(one.value.numel() * one.dtype.itemsize for one in outputs)
    if kernel.moves is not None:
        read, written = kernel.moves(arguments)
    floats = [tensor.dtype for tensor in given.values() if tensor.dtype.is_floating_point]
    return Traffic(read, written, kernel.operations(arguments), floats[0] if floats else torch.float32)
