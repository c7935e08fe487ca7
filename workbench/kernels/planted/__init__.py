"""Kernels with one planted mistake each; our judge has to refuse every one of them.

A decorated function in a module here is found by itself.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from tracing.errors import UsageError
from workbench.kernels.planted.bug import PlantedBug

_FOUND: Final = (
    value
    for found in sorted(pkgutil.iter_modules(__path__), key=lambda one: one.name)
    for value in vars(importlib.import_module(f"{__name__}.{found.name}")).values()
    if isinstance(value, PlantedBug)
)
PLANTED_BUGS: Final[Mapping[str, PlantedBug]] = MappingProxyType({bug.name: bug for bug in _FOUND})
"""Every planted bug by name."""


def planted(name: str) -> PlantedBug:
    """Return a planted bug.

    Raises:
        UsageError: There is none of that name.
    """
    if name not in PLANTED_BUGS:
        raise UsageError(f"no planted bug {name!r}; there are {', '.join(PLANTED_BUGS)}")
    return PLANTED_BUGS[name]
