"""The speculators library: `layers.0.*`, a nested block config, aux ids as hidden-state boundaries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracing.errors import CheckpointError
from workbench.checkpoints.layouts import AuxLayers, Layout, checked_aux

CONVENTION = "speculators: ids are hidden-state boundaries, boundary i is the stream entering layer i"


def _aux_layers(config: Mapping[str, Any], num_teacher_layers: int) -> AuxLayers:
    written = config.get("eagle_aux_hidden_state_layer_ids")
    if isinstance(written, list) and len(written) == 4 and written[3] == num_teacher_layers:
        written = written[:3]  # the data server appends the final boundary as a fourth
    return checked_aux(written, shift=0, convention=CONVENTION, num_teacher_layers=num_teacher_layers)


def _inner_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = config.get("transformer_layer_config")
    if not isinstance(inner, Mapping):
        raise CheckpointError("config.json: transformer_layer_config is missing or not an object")
    return inner


def _canonical_name(name: str) -> str:
    return "midlayer." + name.removeprefix("layers.0.") if name.startswith("layers.0.") else name


SPECULATORS = Layout(
    name="speculators",
    inner_config=_inner_config,
    aux_layers=_aux_layers,
    canonical_name=_canonical_name,
)
