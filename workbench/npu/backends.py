"""Register the emulations under the operators' own names, on whichever backend this process chose."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

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
    """

    backend: Backend
    defined: tuple[str, ...]


_libraries: list[Any] = []  # torch drops a registration when its Library object is collected


@cache
def register() -> Registered:
    """Make every emulation callable as `torch.ops.npu.*`, once; chooses a backend first if none was chosen.

    Raises:
        UsageError: An operator has no pinned schema.
        EnvironmentProblemError: There is no backend.
    """
    backend = bootstrap()
    from workbench.npu.operators import OPERATORS

    defined = tuple(sorted(name for name in OPERATORS if registered_schema(name) is None))
    for name in defined:
        _define(name)
    for name, function in OPERATORS.items():
        _implement(name, function)
    return Registered(backend, defined)


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
