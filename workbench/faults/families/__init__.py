"""Faults by family: the modules listed here, each fault a decorated function."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Final

from workbench.faults.families import (
    acceptance,
    aliases,
    cache,
    draft_model,
    drafter,
    drafter_rows,
    experts,
    features,
    int4,
    kernels,
    lookup,
    masks,
    medusa,
    pads,
    port,
    positions,
    prefill,
    recorder,
    reference,
    sampling,
    shared,
    stale,
    static,
    tree,
    tree_values,
    windows,
)

FAMILIES: Final[Mapping[str, tuple[ModuleType, ...]]] = {
    "Prefill": (prefill,),
    "The drafted tree": (tree, tree_values),
    "The drafter": (drafter, drafter_rows),
    "Medusa": (medusa,),
    "A draft model": (draft_model,),
    "Prompt lookup": (lookup,),
    "Padding": (pads,),
    "Positions": (positions,),
    "Who attends to whom": (masks,),
    "Windows": (windows,),
    "Teacher features": (features,),
    "Inside an operator": (kernels,),
    "Weights in int4": (int4,),
    "Experts": (experts,),
    "What an earlier call left, and chance": (stale,),
    "Static shapes": (static,),
    "Choosing and accepting": (acceptance,),
    "Sampling": (sampling,),
    "The committed cache": (cache,),
    "Shared memory": (aliases,),
    "The seam of a port": (port,),
    "The recorder of an engine (found by `specwb check` in the rows)": (recorder,),
    "The reference itself": (reference,),
    "What both paths share (found by the load report)": (shared,),
}
"""Heading of each family to its modules; `catalogue` collects their faults in the order of definition."""
