"""Which of the three EAGLE-3 checkpoint layouts a drafter directory has, and what each one means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tracing.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class AuxLayers:
    """Tapped teacher layers, normalised.

    Attributes:
        entering: The feature is the residual stream that *enters* these layers (0 is the first block).
        written: The ids as the checkpoint has them, or None when it relies on the default.
        convention: What the written ids mean in that layout.
    """

    entering: tuple[int, int, int]
    written: tuple[int, ...] | None
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
    return AuxLayers(entering, ids, convention)


def _three_ids(written: object) -> tuple[int, int, int]:
    if not isinstance(written, list | tuple) or len(written) != 3:
        raise CheckpointError(f"eagle_aux_hidden_state_layer_ids should be three layer ids, got {written!r}")
    if not all(isinstance(item, int) and not isinstance(item, bool) for item in written):
        raise CheckpointError(f"eagle_aux_hidden_state_layer_ids should be integers, got {written!r}")
    return (written[0], written[1], written[2])
