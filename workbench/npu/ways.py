"""Register the CPU twins under the operators' own names, on whichever way in this process took."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tracing.errors import UsageError
from workbench.npu.bootstrap import WayIn, bootstrap
from workbench.npu.schemas import pinned_schema

Twin = Callable[..., Any]
KEYS: Final = ("CPU", "CUDA")
"""Where twins run; the device's own kernels stay what they are."""


@dataclass(frozen=True, slots=True)
class Registered:
    """What `register` did.

    Attributes:
        way: The way in.
        defined: Operators that were defined from pinned schemas, sorted.
        twins: Operators that now have a twin for CPU and CUDA tensors, sorted.
    """

    way: WayIn
    defined: tuple[str, ...]
    twins: tuple[str, ...]


_libraries: list[Any] = []  # torch drops a registration when its Library object is collected
_done: list[Registered] = []


def register(twins: Mapping[str, Twin] | None = None) -> Registered:
    """Make every twin callable as `torch.ops.npu.*`; takes a way in first if none was taken.

    Args:
        twins: Qualified operator name to kernel; ours (`workbench.npu.operators.OPERATORS`) when None.

    Raises:
        UsageError: Another table was registered before, or an operator has no pinned schema.
        EnvironmentProblemError: There is no way in.
    """
    if _done:
        if twins is not None and tuple(sorted(twins)) != _done[0].twins:
            raise UsageError(
                "other twins were registered in this process; start a new process for a new table"
            )
        return _done[0]
    way = bootstrap()
    kernels = _our_twins() if twins is None else twins
    defined = tuple(sorted(name for name in kernels if not is_defined(name)))
    for name in defined:
        _define(name)
    for name, kernel in kernels.items():
        _implement(name, kernel)
    _done.append(Registered(way, defined, tuple(sorted(kernels))))
    return _done[0]


def is_defined(name: str) -> bool:
    """Return whether torch knows this operator, e.g. `npu::npu_rms_norm` or `atb::x.out`."""
    return registered_schema(name) is not None


def registered_schema(name: str) -> str | None:
    """Return the schema under which torch knows an operator, as torch prints it, or None."""
    import torch

    namespace, _, rest = name.partition("::")
    operator, _, overload = rest.partition(".")
    packet = getattr(getattr(torch.ops, namespace), operator, None)
    if packet is None or (overload or "default") not in packet.overloads():
        return None
    return str(getattr(packet, overload or "default")._schema)  # noqa: SLF001  # torch has no public way


def _our_twins() -> Mapping[str, Twin]:
    from workbench.npu.operators import OPERATORS

    return OPERATORS


def _define(name: str) -> None:
    namespace, _, text = pinned_schema(name).partition("::")
    _library(namespace, "FRAGMENT").define(text)


def _implement(name: str, kernel: Twin) -> None:
    namespace, _, operator = name.partition("::")
    library = _library(namespace, "IMPL")
    for key in KEYS:
        with warnings.catch_warnings():
            # torch says once that a kernel is replaced; on a CPU-only build nothing of the vendor's is.
            warnings.simplefilter("ignore", UserWarning)
            library.impl(operator, kernel, key)


def _library(namespace: str, kind: str) -> Any:
    import torch

    library = torch.library.Library(namespace, kind)  # type: ignore[no-untyped-call]
    _libraries.append(library)
    return library
