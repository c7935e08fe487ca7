"""The layout of the official EAGLE-3 releases: `midlayer.*`, aux layers fixed in code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.checkpoints.layouts import AuxLayers, Layout, checked_aux

CONVENTION = "official: the stream entering layers 2, n//2, n-3"


def _aux_layers(_config: Mapping[str, Any], num_teacher_layers: int) -> AuxLayers:
    return checked_aux(None, shift=0, convention=CONVENTION, num_teacher_layers=num_teacher_layers)


OFFICIAL = Layout(
    name="official",
    inner_config=lambda config: config,
    aux_layers=_aux_layers,
    canonical_name=lambda name: name,
)
