"""Register the emulations under the operators' own names, on whichever backend this process chose."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tracing.errors import UsageError
from workbench.npu.bootstrap import Backend, bootstrap
from workbench.npu.schemas import pinned_schema

Function = Callable[..., Any]
KEYS: Final = ("CPU", "CUDA")
"""Where emulations run; the device's own kernels stay what they are."""


@dataclass(frozen=True, slots=True)
class Registered:
    """What `register` did.

    Attributes:
        backend: How this process reaches the operators.
        defined: Operators that were defined from pinned schemas, sorted.
        emulated: Operators that now have an emulation for CPU and CUDA tensors, sorted.
    """

    backend: Backend
    defined: tuple[str, ...]
    emulated: tuple[str, ...]


_libraries: list[Any] = []  # torch drops a registration when its Library object is collected
_done: list[Registered] = []


def register(emulations: Mapping[str, Function] | None = None) -> Registered:
    """Make every emulation callable as `torch.ops.npu.*`; chooses a backend first if none was chosen.

    Args:
        emulations: Qualified operator name to function; `workbench.npu.operators.OPERATORS` when None.

    Raises:
        UsageError: Another table was registered before, or an operator has no pinned schema.
        EnvironmentProblemError: There is no backend.
    """
    if _done:
        if emulations is not None and tuple(sorted(emulations)) != _done[0].emulated:
            raise UsageError(
                "other emulations were registered in this process; start a new process for a new table"
            )
        return _done[0]
    backend = bootstrap()
    functions = _our_emulations() if emulations is None else emulations
    defined = tuple(sorted(name for name in functions if registered_schema(name) is None))
    for name in defined:
        _define(name)
    for name, function in functions.items():
        _implement(name, function)
    _done.append(Registered(backend, defined, tuple(sorted(functions))))
    return _done[0]


def registered_schema(name: str) -> str | None:
    """Return the schema under which torch knows an operator, as torch prints it, or None.

    Args:
        name: Qualified name, e.g. `npu::npu_rms_norm` or `atb::x.out`.
    """
    import torch

    namespace, _, rest = name.partition("::")
    operator, _, overload = rest.partition(".")
    packet = getattr(getattr(torch.ops, namespace), operator, None)
    if packet is None or (overload or "default") not in packet.overloads():
        return None
    return str(getattr(packet, overload or "default")._schema)  # noqa: SLF001  # torch has no public way


def _our_emulations() -> Mapping[str, Function]:
    from workbench.npu.operators import OPERATORS

    return OPERATORS


def _define(name: str) -> None:
    namespace, _, text = pinned_schema(name).partition("::")
    _library(namespace, "FRAGMENT").define(text)


def _implement(name: str, function: Function) -> None:
    namespace, _, operator = name.partition("::")
    library = _library(namespace, "IMPL")
    for key in KEYS:
        with warnings.catch_warnings():
            # torch warns that a kernel is replaced; on a CPU-only build nothing of the vendor's is.
            warnings.simplefilter("ignore", UserWarning)
            library.impl(operator, function, key)


def _library(namespace: str, kind: str) -> Any:
    import torch

    library = torch.library.Library(namespace, kind)  # type: ignore[no-untyped-call]  # untyped in torch
    _libraries.append(library)
    return library
