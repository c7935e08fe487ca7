"""Every fault there is, family by family, in the order of definition."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from tracing.errors import UsageError
from workbench.faults.families import FAMILIES
from workbench.faults.fault import Fault

BY_HEADING: Final[Mapping[str, tuple[Fault, ...]]] = {
    heading: tuple(made for module in modules for made in vars(module).values() if isinstance(made, Fault))
    for heading, modules in FAMILIES.items()
}
"""Heading of each family to its faults."""

CATALOGUE: Final = tuple(fault for faults in BY_HEADING.values() for fault in faults)

BY_NAME: Final = MappingProxyType({fault.name: fault for fault in CATALOGUE})


def chosen(names: Iterable[str]) -> tuple[Fault, ...]:
    """Return the faults of these names, ids or families, in catalogue order; all without any.

    Raises:
        UsageError: Nothing has one of these names.
    """
    wanted = tuple(names)
    for name in wanted:
        if not any(name in _names(fault) for fault in CATALOGUE):
            near = difflib.get_close_matches(name, BY_NAME, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else "`specwb faults list` shows them all"
            raise UsageError(f"no fault, id or family {name!r}; {hint}")
    return tuple(fault for fault in CATALOGUE if not wanted or set(wanted) & set(_names(fault)))


def _names(fault: Fault) -> tuple[str, str, str]:
    return fault.name, fault.id, fault.family
