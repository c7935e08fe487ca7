"""One file for each group of operators of the border: exact results, plain references, cases.

A module here that defines a `Kernel` is found by itself. An operator of `workbench.npu.operators` without one
fails a test.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from tracing.errors import UsageError
from workbench.kernels.kernel import Kernel

_FOUND: Final = (
    value
    for found in sorted(pkgutil.iter_modules(__path__), key=lambda one: one.name)
    for value in vars(importlib.import_module(f"{__name__}.{found.name}")).values()
    if isinstance(value, Kernel)
)
KERNELS: Final[Mapping[str, Kernel]] = MappingProxyType({kernel.name: kernel for kernel in _FOUND})
"""Every operator on trial by its name."""


def chosen(names: Sequence[str]) -> tuple[Kernel, ...]:
    """Return operators by name, all of them for no name.

    Raises:
        UsageError: No such operator.
    """
    unknown = [name for name in names if name not in KERNELS]
    if unknown:
        raise UsageError(f"no operator {', '.join(unknown)}; there are {', '.join(KERNELS)}")
    return tuple(KERNELS[name] for name in dict.fromkeys(names)) or tuple(KERNELS.values())
