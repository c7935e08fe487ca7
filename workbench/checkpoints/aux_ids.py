"""Which teacher layers a drafter taps: ids are written under two conventions, in two places, or not at all.

A *boundary* i is the stream entering layer i (0 is the embedding, n what enters the final norm); the *output*
of layer i is boundary i + 1. Trainers write outputs into `eagle_config`, engines read ids at the top level as
boundaries. Ids that equal the usual ones of a convention, or that only one of them can have, decide; where
nothing decides, the report says how else they could be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tracing.errors import CheckpointError
from workbench.checkpoints.config_values import block
from workbench.checkpoints.json_text import shown

KEYS: Final = ("eagle_aux_hidden_state_layer_ids", "aux_hidden_state_layer_ids")
NESTED: Final = "eagle_config"
BOUNDARIES: Final = "ids are boundaries: the stream entering layer i"
OUTPUTS: Final = "ids name layer outputs: entering layer = id + 1"
DEFAULT: Final = "no ids are written: the stream entering layers 2, n//2, n-3"


@dataclass(frozen=True, slots=True)
class AuxLayers:
    """Tapped teacher layers, normalised.

    Attributes:
        entering: The feature is the residual stream that *enters* these layers (0 is the first block).
        convention: What the written ids mean, or that there are none.
        doubt: Why the layers may be others, empty where the files decide.
    """

    entering: tuple[int, int, int]
    convention: str
    doubt: str = ""


def default_aux_layers(num_teacher_layers: int) -> tuple[int, int, int]:
    """Return the layers of the official code: 2, n // 2, n - 3, tapped on entry."""
    return (2, num_teacher_layers // 2, num_teacher_layers - 3)


def read_aux_layers(config: Mapping[str, Any], num_teacher_layers: int, *, boundaries: bool) -> AuxLayers:
    """Return the layers that a drafter's config.json names.

    Args:
        config: The whole config.json.
        num_teacher_layers: n of the teacher.
        boundaries: The layout defines ids as boundaries, wherever they are.

    Raises:
        CheckpointError: Ids in two places that differ, not three different ones, or out of range.
    """
    written = tuple(_written(config))
    usual = default_aux_layers(num_teacher_layers)
    if not written:
        _require_range(usual, usual, num_teacher_layers, "official")
        return AuxLayers(usual, DEFAULT, "the config does not name the tapped layers; these are a guess")
    (place, ids), *others = written
    for other, same in others:
        if same != ids:
            raise CheckpointError(f"config.json names the tapped layers twice: {place} {ids}, {other} {same}")
    ids = ids[:3] if len(ids) == 4 and boundaries and ids[3] == num_teacher_layers else ids
    if len(ids) != 3:
        raise CheckpointError(f"config.json: {place} should be three layer ids, got {shown(ids)}")
    return _read(place, ids, num_teacher_layers, usual, boundaries=boundaries)


def _written(config: Mapping[str, Any]) -> Iterator[tuple[str, list[int]]]:
    """Yield every place that holds ids, with them; an empty list is as good as none."""
    for prefix, holder in (("", config), (f"{NESTED}.", block(config, NESTED))):
        for key in KEYS:
            value = holder.get(key)
            if value is None or value == []:
                continue
            if not isinstance(value, list) or not all(type(item) is int for item in value):
                raise CheckpointError(f"config.json: {prefix}{key} should be integers, got {shown(value)}")
            yield prefix + key, value


def _read(
    place: str, ids: list[int], num_layers: int, usual: tuple[int, int, int], *, boundaries: bool
) -> AuxLayers:
    low, mid, high = sorted(ids)
    as_boundaries, as_outputs = (low, mid, high), (low + 1, mid + 1, high + 1)
    decided = True
    if boundaries or high == num_layers or as_boundaries == usual:
        shift = 0
        decided = not boundaries or as_outputs != usual
    elif low < 0 or as_outputs == usual:
        shift = 1
    else:
        decided, shift = False, int(place.startswith(NESTED))
    entering, other = (as_outputs, as_boundaries) if shift else (as_boundaries, as_outputs)
    convention = OUTPUTS if shift else BOUNDARIES
    _require_range(entering, tuple(ids), num_layers, convention)
    if len(set(ids)) != len(ids) and entering != usual:
        raise CheckpointError(f"config.json: {place} should name three different layers, got {ids}")
    doubts = []
    if not decided:
        doubts.append(f"readers differ: {place} {ids} may also mean the stream entering {list(other)}")
    if ids != sorted(ids):
        doubts.append(f"{ids} are read in ascending order, as engines capture them")
    return AuxLayers(entering, convention, "; ".join(doubts))


def _require_range(entering: tuple[int, ...], ids: tuple[int, ...], num_layers: int, convention: str) -> None:
    if min(entering) < 0 or max(entering) > num_layers:
        raise CheckpointError(
            f"aux layers {list(ids)} ({convention}) do not fit a teacher of {num_layers} layers: "
            f"entering {list(entering)} must lie within 0..{num_layers}"
        )
