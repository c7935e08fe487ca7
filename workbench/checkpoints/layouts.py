"""The three EAGLE-3 checkpoint layouts: how each writes tensor names and tapped layers, and how to tell them.

`official`: `midlayer.*`, aux layers fixed in code. `specforge`: the same tensor names; explicit aux ids
count layer *outputs*, so the entering layer is one later. `speculators`: `layers.0.*`, a nested block
configuration, aux ids as hidden-state boundaries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tracing.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class AuxLayers:
    """Tapped teacher layers, normalised.

    Attributes:
        entering: The feature is the residual stream that *enters* these layers (0 is the first block).
        convention: What the written ids mean in that layout.
    """

    entering: tuple[int, int, int]
    convention: str


@dataclass(frozen=True, slots=True)
class Layout:
    """How one family of checkpoints writes an EAGLE-3 drafter.

    Attributes:
        name: `official`, `specforge` or `speculators`.
        inner_config: Picks the transformer block's configuration out of config.json.
        aux_layers: `(config, num_teacher_layers)` to normalised layers.
        canonical_name: File tensor name to canonical name.
    """

    name: str
    inner_config: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    aux_layers: Callable[[Mapping[str, Any], int], AuxLayers]
    canonical_name: Callable[[str], str]


def default_aux_layers(num_teacher_layers: int) -> tuple[int, int, int]:
    """Return the layers of the official code: 2, n // 2, n - 3, tapped on entry."""
    return (2, num_teacher_layers // 2, num_teacher_layers - 3)


def checked_aux(written: object, *, shift: int, convention: str, num_teacher_layers: int) -> AuxLayers:
    """Normalise ids (None: the default) by adding `shift`, and check them.

    Raises:
        CheckpointError: Not three ids, out of range, or not increasing.
    """
    if written is None:
        entering = default_aux_layers(num_teacher_layers)
        ids = None
    else:
        ids = _three_ids(written)
        entering = (ids[0] + shift, ids[1] + shift, ids[2] + shift)
    low, mid, high = entering
    in_range = min(entering) >= 0 and max(entering) <= num_teacher_layers
    # written ids must increase; the default formula repeats layers in a teacher of fewer than seven, and
    # the load report warns of that
    if not in_range or (ids is not None and not low < mid < high):
        raise CheckpointError(
            f"aux layers {list(ids or entering)} ({convention}) do not fit a teacher of "
            f"{num_teacher_layers} layers: entering {list(entering)} must increase within "
            f"0..{num_teacher_layers}"
        )
    return AuxLayers(entering, convention)


def _three_ids(written: object) -> tuple[int, int, int]:
    if not isinstance(written, list | tuple) or len(written) != 3:
        raise CheckpointError(f"eagle_aux_hidden_state_layer_ids should be three layer ids, got {written!r}")
    if not all(isinstance(item, int) and not isinstance(item, bool) for item in written):
        raise CheckpointError(f"eagle_aux_hidden_state_layer_ids should be integers, got {written!r}")
    return (written[0], written[1], written[2])


def detect_layout(config: Mapping[str, Any]) -> Layout:
    """Return the layout of a config.json.

    Raises:
        CheckpointError: Not an EAGLE-3 drafter.
    """
    speculators_type = config.get("speculators_model_type")
    if speculators_type is not None:
        if speculators_type != "eagle3":
            raise CheckpointError(
                f"config.json: speculators_model_type should be 'eagle3', got {speculators_type!r}"
            )
        return SPECULATORS
    if "eagle_config" in config or "LlamaForCausalLMEagle3" in (config.get("architectures") or []):
        return SPECFORGE
    if "draft_vocab_size" not in config:
        raise CheckpointError(
            "config.json has no draft_vocab_size; expected an EAGLE-3 drafter, this looks like another model"
        )
    return OFFICIAL


def _official_aux(_config: Mapping[str, Any], num_teacher_layers: int) -> AuxLayers:
    convention = "official: the stream entering layers 2, n//2, n-3"
    return checked_aux(None, shift=0, convention=convention, num_teacher_layers=num_teacher_layers)


def _specforge_aux(config: Mapping[str, Any], num_teacher_layers: int) -> AuxLayers:
    block = config.get("eagle_config")
    if block is not None and not isinstance(block, Mapping):
        raise CheckpointError(f"config.json: eagle_config should be an object, got {block!r}")
    written = (block or {}).get("eagle_aux_hidden_state_layer_ids")
    convention = "specforge: ids name layer outputs, entering layer = id + 1"
    return checked_aux(written, shift=1, convention=convention, num_teacher_layers=num_teacher_layers)


def _speculators_aux(config: Mapping[str, Any], num_teacher_layers: int) -> AuxLayers:
    written = config.get("eagle_aux_hidden_state_layer_ids")
    if isinstance(written, list) and len(written) == 4 and written[3] == num_teacher_layers:
        written = written[:3]  # the data server appends the final boundary as a fourth
    convention = "speculators: ids are hidden-state boundaries, boundary i is the stream entering layer i"
    return checked_aux(written, shift=0, convention=convention, num_teacher_layers=num_teacher_layers)


def _speculators_block(config: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = config.get("transformer_layer_config")
    if not isinstance(inner, Mapping):
        raise CheckpointError("config.json: transformer_layer_config is missing or not an object")
    return inner


def _speculators_name(name: str) -> str:
    return "midlayer." + name.removeprefix("layers.0.") if name.startswith("layers.0.") else name


OFFICIAL: Final = Layout("official", lambda config: config, _official_aux, lambda name: name)
SPECFORGE: Final = Layout(
    "specforge", lambda config: config, _specforge_aux, lambda name: name.removeprefix("model.")
)
SPECULATORS: Final = Layout("speculators", _speculators_block, _speculators_aux, _speculators_name)
