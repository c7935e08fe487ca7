"""Mistakes in the fused path: the catalogue of faults, as far as they are in the path and not in a record."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from causes.mistake import Mistake
from causes.twin import Twins
from tracing.moment import STAGES
from workbench.faults.catalogue import CATALOGUE
from workbench.faults.experiment import Setup, faulty_path
from workbench.faults.fault import Fault
from workbench.faults.placement import Placement

FAMILIES: Final[Mapping[str, str]] = {
    "mask": "mask",
    "pos": "positions",
    "feat": "features",
    "kernel": "kernel",
    "acc": "accept",
    "cache": "commit",
    "drafter": "drafter",
    "tree": "tree",
    "pad": "form",
    "alias": "stale",
    "port": "form",
}
"""Family of a fault to that of a mistake."""


def _plant(fault: Fault, setup: Setup) -> Twins:
    placed = fault.place()
    return Twins(faulty_path(setup, Placement()), faulty_path(setup, placed), placed.around)


def _in_the_path(fault: Fault) -> bool:
    return fault.stage in STAGES and fault.guilty == "fused" and fault.place().rows is None


MISTAKES: Final = tuple(
    Mistake(
        port="fused",
        name=fault.name,
        family=FAMILIES.get(fault.family, "kernel"),
        plant=partial(_plant, fault),
        need=fault.need,
    )
    for fault in CATALOGUE
    if _in_the_path(fault)
)
