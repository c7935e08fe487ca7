"""SpecForge: official tensor names; explicit aux ids count layer *outputs*, so entering is one later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracing.errors import CheckpointError
from workbench.checkpoints.layouts import AuxLayers, Layout, checked_aux

CONVENTION = "specforge: ids name layer outputs, entering layer = id + 1"


def _aux_layers(config: Mapping[str, Any], num_teacher_layers: int) -> AuxLayers:
    block = config.get("eagle_config")
    if block is not None and not isinstance(block, Mapping):
        raise CheckpointError(f"config.json: eagle_config should be an object, got {block!r}")
    written = (block or {}).get("eagle_aux_hidden_state_layer_ids")
    return checked_aux(written, shift=1, convention=CONVENTION, num_teacher_layers=num_teacher_layers)


def _canonical_name(name: str) -> str:
    return name.removeprefix("model.")


SPECFORGE = Layout(
    name="specforge",
    inner_config=lambda config: config,
    aux_layers=_aux_layers,
    canonical_name=_canonical_name,
)
