"""Faults of the drafter's network: its positions, rows, flags, head, and map to the teacher's vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any, Final

import torch

from workbench.faults.fault import fault
from workbench.faults.placement import Placement, Spoil, on_engine, on_function, once_per_run
from workbench.fused.drafters import eagle3
from workbench.fused.engine import Engine
from workbench.fused.linear import Linear

Expand = Callable[..., Any]
Parts = dict[str, Any]
"""Attributes of the drafter's network."""
TABLE_ROWS: Final = 512
SCORES: Final = ("JUDGE-DRAFT-SCORES", "JUDGE-DRAFT-CANDIDATES", "JUDGE-ROW-MOVED")
VOCABULARY: Final = ("JUDGE-DRAFT-VOCAB", "JUDGE-DRAFT-CANDIDATES", "JUDGE-DRAFT-SCORES")

EXPAND: Final = on_function(eagle3, "_expand")


class Moved:
    """A network whose rotary positions are changed on their way in; everything else is the real one's."""

    def __init__(self, network: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._network = network
        self._change = change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def forward(
        self, token_ids: Any, hidden: Any, position_ids: torch.Tensor, *rest: Any, **named: Any
    ) -> Any:
        """Run the real forward at other positions."""
        return self._network.forward(token_ids, hidden, self._change(position_ids), *rest, **named)


def _moved(drafter: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Return the drafter over a moved network."""
    return replace(drafter, network=Moved(drafter.network, change))


def on_positions(change: Callable[[torch.Tensor], torch.Tensor]) -> Placement:
    """Change the drafter's rotary positions, an int64 array, on their way in."""
    return on_engine(lambda engine: replace(engine, drafter=_moved(engine.drafter, change)))


def on_drafter(change: Callable[[Parts, Engine], Parts]) -> Placement:
    """Exchange attributes of a copy of the drafter's network."""

    def place(engine: Engine) -> Engine:
        drafter: Any = engine.drafter
        network = copy(drafter.network)
        vars(network).update(change(vars(network), engine))
        return replace(engine, drafter=replace(drafter, network=network))

    return on_engine(place)


def on_map(change: Spoil) -> Placement:
    """Exchange the map from draft to target ids, given the map and the teacher's vocabulary size."""
    return on_drafter(
        lambda parts, engine: {"target_from_draft": change(parts["target_from_draft"], engine.vocab_size)}
    )


drafter_fault: Final = partial(fault, stage="draft", noticed_by=SCORES)
map_fault: Final = partial(fault, stage="draft", noticed_by=VOCABULARY, placed=on_map)
position_fault: Final = partial(fault, stage="draft", noticed_by=("JUDGE-DRAFT-KV",))


@drafter_fault("F-DRAFTER-01", "sgl#8409", placed=EXPAND)
def drafter_rows_by_beam_place(original: Expand, drafter: Any, memory: Any, turn: Any, beams: Any) -> Any:
    """A beam attends to the rows of the beams in its own place, not to those of its parents."""
    num_beams = len(beams.token_ids)
    place = beams.tree_visible.device
    in_place = torch.eye(num_beams, dtype=torch.bool, device=place).repeat(1, beams.expansion)
    return original(drafter, memory, turn, replace(beams, tree_visible=in_place))


@drafter_fault("F-DRAFTER-02", "Ascend/sglang#141", "va#4521", placed=EXPAND)
def drafter_length_not_advanced(original: Expand, drafter: Any, memory: Any, turn: Any, beams: Any) -> Any:
    """Rows drafted at earlier levels lie behind the drafter's length and are not attended to."""
    hidden = torch.zeros_like(beams.tree_visible)
    return original(drafter, memory, turn, replace(beams, tree_visible=hidden))


@drafter_fault("F-DRAFTER-03", "va#3300", "va#9605", placed=EXPAND)
def drafter_position_not_advanced(original: Expand, drafter: Any, memory: Any, turn: Any, beams: Any) -> Any:
    """Cosines and sines of the first draft step serve all of them."""
    return original(_moved(drafter, lambda positions: positions - beams.expansion), memory, turn, beams)


@position_fault("F-DRAFTER-04", "speculators#703", placed=on_positions)
def drafter_positions_from_one(position_ids: torch.Tensor) -> torch.Tensor:
    """The drafter counts positions from 1; as distances stay right, no draft changes."""
    return position_ids + 1


@position_fault("F-DRAFTER-05", "vllm#48894", "sgl#10787", placed=on_positions, need="long")
def drafter_rope_table_too_short(position_ids: torch.Tensor) -> torch.Tensor:
    """The drafter's table ends at its own 512 positions, and later ones read its last row."""
    return position_ids.clamp(max=TABLE_ROWS - 1)


@drafter_fault("F-DRAFTER-06", "specforge#879", placed=on_drafter)
def post_norm_feature(parts: Parts, _: Engine) -> Parts:
    """The feature passed to the next draft step is the normed one."""
    return {"_config": replace(parts["_config"], norm_output=True)}


@drafter_fault("F-DRAFTER-07", "speculators#297", placed=on_drafter)
def residual_of_the_normed_feature(parts: Parts, _: Engine) -> Parts:
    """The residual of the attention block is the normed feature."""
    return {"_config": replace(parts["_config"], norm_before_residual=True)}


@map_fault("F-DRAFTER-08", "NVIDIA-NeMo/Automodel#2447")
def d2t_skipped(absolute: torch.Tensor, _: int) -> torch.Tensor:
    """Draft token ids are taken for target token ids."""
    return torch.arange(len(absolute), device=absolute.device)


@map_fault("F-DRAFTER-09", "verl-project/verl-SpeCo#67")
def d2t_added_twice(absolute: torch.Tensor, vocab_size: int) -> torch.Tensor:
    """Absolute target ids are read as offsets and the draft id is added once more."""
    return (absolute + torch.arange(len(absolute), device=absolute.device)) % vocab_size


@drafter_fault("F-DRAFTER-10", "va#9795", placed=on_drafter)
def teachers_head_in_the_drafter(parts: Parts, engine: Engine) -> Parts:
    """The drafter's own head is replaced by the first rows of the teacher's."""
    head: Linear = vars(engine.teacher)["_head"]
    num_rows = len(parts["target_from_draft"])
    first_rows = Linear(lambda rows: head(rows)[..., :num_rows], head.storage, torch.empty(head.shape))
    return {"_products": parts["_products"] | {"lm_head": first_rows}}


@position_fault("F-DRAFTER-11", "speculators#574", "wejoncy/sfllm#32", placed=on_drafter)
def drafter_theta_lost(parts: Parts, _: Engine) -> Parts:
    """The drafter's rope parameters are read under a key that is no longer there.

    The frequencies are then those of another theta, here a hundred times the right one.
    """
    rotary = parts["_rotary"]
    size = 2 * len(rotary.inv_freq)
    scale = 100.0 ** (-torch.arange(0, size, 2, device=rotary.inv_freq.device) / size)
    return {"_rotary": replace(rotary, inv_freq=rotary.inv_freq * scale)}


@drafter_fault("F-DRAFTER-12", "lmdeploy#4517", "lmdeploy#4520", placed=once_per_run(EXPAND))
def feature_not_advanced() -> Expand:
    """Every draft level is expanded from the feature that expanded the root."""
    kept: list[torch.Tensor] = []

    def stale(original: Expand, drafter: Any, memory: Any, turn: Any, beams: Any) -> Any:
        if beams.expansion == 0:
            kept[:] = [beams.hidden]
        return original(drafter, memory, turn, replace(beams, hidden=kept[0]))

    return stale
