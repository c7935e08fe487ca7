"""Candidates in C and C++: compiled into a shared library and called through `specwb_kernel.h`."""

from __future__ import annotations

import ctypes
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from workbench.kernels.kernel import Kernel
from workbench.kernels.wire import DTYPES
from workbench.npu.signature import Signature
from workbench.weights import compile_gate

MAX_RANK: Final = 8
_CODES: Final = {dtype: code for code, dtype in enumerate(DTYPES.values())}


class BuildError(Exception):
    """A candidate does not compile or lacks its function; the text says why."""


class _CTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("dtype", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("shape", ctypes.c_int64 * MAX_RANK),
        ("strides", ctypes.c_int64 * MAX_RANK),
    )


def build(source: Path, *, seconds: float) -> Path:
    """Compile a source into a library in the user's cache; the same source and compiler are built once.

    Raises:
        BuildError: It does not compile within the time.
        EnvironmentProblemError: No compiler.
    """
    try:
        return compile_gate.build(source, seconds=seconds, include=Path(__file__).parents[1])
    except compile_gate.CompileError as error:
        raise BuildError(str(error)) from None


def load(library: Path, name: str) -> Callable[[Kernel], Callable[..., Any]]:
    """Return what makes a candidate for an operator of a function in a library.

    Raises:
        BuildError: The library cannot be loaded or has no such function.
    """
    try:
        function = getattr(ctypes.CDLL(str(library)), name)
    except (OSError, AttributeError) as error:
        raise BuildError(f"no function {name} with C linkage in {library.name}: {error}") from None
    function.restype = ctypes.c_int

    def candidate_of(kernel: Kernel) -> Callable[..., Any]:
        def candidate(**arguments: Any) -> Any:
            return _call(function, kernel, arguments)

        return candidate

    return candidate_of


def _call(function: Any, kernel: Kernel, arguments: Mapping[str, Any]) -> Any:
    inputs, numbers = _passed(kernel, arguments)
    expected = kernel.truth(dict(arguments))
    forms = expected[: len(expected) - len(kernel.writes)]
    outputs = [torch.empty(one.value.shape, dtype=one.dtype) for one in forms]
    for output in outputs:
        output.view(-1).view(torch.uint8).fill_(0xFF)  # NaN, where nothing is written
    given = (_CTensor * len(inputs))(*map(_described, inputs))
    made = (_CTensor * len(outputs))(*map(_described, outputs))
    values = (ctypes.c_double * len(numbers))(*numbers)
    code = function(given, len(given), values, len(values), made, len(made))
    if code:
        raise RuntimeError(f"it returned {code}, not 0")
    return outputs


def _passed(kernel: Kernel, arguments: Mapping[str, Any]) -> tuple[list[Tensor | None], list[float]]:
    """Return tensors and lists, and numbers, each in the order of the schema."""
    if kernel.operator:
        signature = Signature.pinned(kernel.operator).as_python
    else:
        assert kernel.own is not None
        signature = inspect.signature(kernel.own)
    inputs: list[Tensor | None] = []
    numbers: list[float] = []
    for name, parameter in signature.parameters.items():
        value = arguments.get(name, parameter.default)
        if isinstance(value, (bool, int, float)):
            numbers.append(float(value))
        elif isinstance(value, Tensor) or value is None:
            inputs.append(value)
        elif isinstance(value, (list, tuple)) and any(isinstance(one, Tensor) for one in value):
            inputs += value
        elif isinstance(value, (list, tuple)):
            inputs.append(torch.tensor(value, dtype=torch.int64))
    return inputs, numbers


def _described(tensor: Tensor | None) -> _CTensor:
    described = _CTensor()
    if tensor is None:
        return described
    if tensor.dim() > MAX_RANK or tensor.dtype not in _CODES:
        raise ValueError(f"a tensor of {tensor.dim()} axes of {tensor.dtype} cannot be passed")
    described.data, described.dtype, described.rank = tensor.data_ptr(), _CODES[tensor.dtype], tensor.dim()
    described.shape[: tensor.dim()] = tensor.shape
    described.strides[: tensor.dim()] = tensor.stride()
    return described
