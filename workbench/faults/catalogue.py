"""Every fault there is, family by family; one that is not listed here does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

from tracing.errors import UsageError
from workbench.faults.families import (
    acceptance,
    aliases,
    cache,
    drafter,
    drafter_rows,
    features,
    kernels,
    masks,
    pads,
    port,
    positions,
    prefill,
    recorder,
    reference,
    shared,
    tree,
    tree_values,
)
from workbench.faults.fault import Fault

CATALOGUE: Final[tuple[Fault, ...]] = (
    *prefill.FAULTS,
    *tree.FAULTS,
    *tree_values.FAULTS,
    *drafter.FAULTS,
    *drafter_rows.FAULTS,
    *pads.FAULTS,
    *positions.FAULTS,
    *masks.FAULTS,
    *features.FAULTS,
    *kernels.FAULTS,
    *acceptance.FAULTS,
    *cache.FAULTS,
    *aliases.FAULTS,
    *port.FAULTS,
    *recorder.FAULTS,
    *reference.FAULTS,
    *shared.FAULTS,
)

BY_NAME: Final = MappingProxyType({fault.name: fault for fault in CATALOGUE})
"""The same, by name."""


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
