"""Faults of the drafter's network: its positions, rows, flags, head, and map to the teacher's vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import Any, Final

import torch

from workbench.faults.fault import Fault
from workbench.faults.placement import Placement, on_engine, on_function
from workbench.fused import draft
from workbench.fused.engine import Engine
from workbench.fused.linear import Linear

Expand = Callable[..., Any]
EXPAND: Final = "_expand"
TABLE_ROWS: Final = 512


class Moved:
    """A drafter whose rotary positions are changed on their way in; everything else is the real one's."""

    def __init__(self, drafter: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._drafter = drafter
        self._change = change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._drafter, name)

    def forward(
        self, token_ids: Any, hidden: Any, position_ids: torch.Tensor, *rest: Any, **named: Any
    ) -> Any:
        """Run the real forward at other positions."""
        return self._drafter.forward(token_ids, hidden, self._change(position_ids), *rest, **named)


def _moved(engine: Engine, change: Callable[[torch.Tensor], torch.Tensor]) -> Engine:
    moved: Any = Moved(engine.drafter, change)
    return replace(engine, drafter=moved)


def _on_drafter(change: Callable[[dict[str, Any], Engine], dict[str, Any]]) -> Placement:
    """Exchange attributes of a copy of the drafter."""

    def place(engine: Engine) -> Engine:
        drafter = copy(engine.drafter)
        vars(drafter).update(change(vars(drafter), engine))
        return replace(engine, drafter=drafter)

    return on_engine(place)


def _flag(**flags: bool) -> Placement:
    return _on_drafter(lambda parts, _: {"_config": replace(parts["_config"], **flags)})


def _product(name: str, weight: Callable[[Engine, torch.Tensor], torch.Tensor]) -> Placement:
    def change(parts: dict[str, Any], engine: Engine) -> dict[str, Any]:
        changed = Linear(weight(engine, parts["_weights"][f"{name}.weight"]))
        return {"_products": parts["_products"] | {name: changed}}

    return _on_drafter(change)


def _teachers_head(engine: Engine, own: torch.Tensor) -> torch.Tensor:
    """The first rows of the teacher's head, as if both vocabularies began alike."""
    head: torch.Tensor = vars(engine.teacher)["_model"].lm_head.weight
    return head[: len(own)]


def _map(change: Callable[[torch.Tensor, int], torch.Tensor]) -> Placement:
    return _on_drafter(
        lambda parts, engine: {"target_from_draft": change(parts["target_from_draft"], engine.vocab_size)}
    )


def _other_theta(parts: dict[str, Any], _: Engine) -> dict[str, Any]:
    """Frequencies of a hundred times the theta, as when the key of the rope parameters is not found."""
    rotary = copy(parts["_rotary"])
    size = 2 * len(rotary.inv_freq)
    scale = 100.0 ** (-torch.arange(0, size, 2) / size)
    vars(rotary)["_buffers"] = {**rotary._buffers, "inv_freq": rotary.inv_freq * scale}  # noqa: SLF001
    return {"_rotary": rotary}


def _parent_by_place(honest: Expand, engine: Any, state: Any, beams: Any, expansion: int) -> Any:
    """Beam i attends to the rows of beam i of every level above, whoever its parents are."""
    num_beams = len(beams.token_ids)
    in_place = torch.eye(num_beams, dtype=torch.bool).repeat(1, expansion)
    return honest(engine, state, replace(beams, tree_visible=in_place), expansion)


def _own_rows_only(honest: Expand, engine: Any, state: Any, beams: Any, expansion: int) -> Any:
    """The drafter's length is not advanced: rows drafted at earlier levels lie behind its end."""
    hidden = torch.zeros_like(beams.tree_visible)
    return honest(engine, state, replace(beams, tree_visible=hidden), expansion)


def _same_position(honest: Expand, engine: Any, state: Any, beams: Any, expansion: int) -> Any:
    return honest(_moved(engine, lambda positions: positions - expansion), state, beams, expansion)


def _same_feature() -> Placement:
    """Every level is expanded from the feature that expanded the root."""
    kept: list[torch.Tensor] = []

    def stale(honest: Expand, engine: Any, state: Any, beams: Any, expansion: int) -> Any:
        if expansion == 0:
            kept[:] = [beams.hidden]
        return honest(engine, state, replace(beams, hidden=kept[0]), expansion)

    return on_function(draft, EXPAND, stale)


SCORES: Final = ("JUDGE-DRAFT-SCORES", "JUDGE-DRAFT-CANDIDATES", "JUDGE-ROW-MOVED")

FAULTS: Final = (
    Fault(
        id="F-DRAFTER-01",
        name="drafter-rows-by-beam-place",
        about="A beam attends to the rows of the beams in its own place, not to those of its parents.",
        stage="draft",
        seen_in=("sgl#8409",),
        noticed_by=SCORES,
        place=lambda: on_function(draft, EXPAND, _parent_by_place),
    ),
    Fault(
        id="F-DRAFTER-02",
        name="drafter-length-not-advanced",
        about="Rows drafted at earlier levels lie behind the drafter's length and are not attended to.",
        stage="draft",
        seen_in=("Ascend/sglang#141", "va#4521"),
        noticed_by=SCORES,
        place=lambda: on_function(draft, EXPAND, _own_rows_only),
    ),
    Fault(
        id="F-DRAFTER-03",
        name="drafter-position-not-advanced",
        about="Cosines and sines of the first draft step serve all of them.",
        stage="draft",
        seen_in=("va#3300", "va#9605"),
        noticed_by=SCORES,
        place=lambda: on_function(draft, EXPAND, _same_position),
    ),
    Fault(
        id="F-DRAFTER-04",
        name="drafter-positions-from-one",
        about="The drafter counts positions from 1; as distances stay right, no draft changes.",
        stage="draft",
        seen_in=("speculators#703",),
        noticed_by=("JUDGE-DRAFT-KV",),
        place=lambda: on_engine(lambda engine: _moved(engine, lambda positions: positions + 1)),
    ),
    Fault(
        id="F-DRAFTER-05",
        name="drafter-rope-table-too-short",
        about="The drafter's table ends at its own 512 positions, and later ones read its last row.",
        stage="draft",
        seen_in=("vllm#48894", "sgl#10787"),
        noticed_by=("JUDGE-DRAFT-KV",),
        need="long",
        place=lambda: on_engine(
            lambda engine: _moved(engine, lambda positions: positions.clamp(max=TABLE_ROWS - 1))
        ),
    ),
    Fault(
        id="F-DRAFTER-06",
        name="post-norm-feature",
        about="The feature handed to the next draft step is the normed one.",
        stage="draft",
        seen_in=("specforge#879",),
        noticed_by=SCORES,
        place=lambda: _flag(norm_output=True),
    ),
    Fault(
        id="F-DRAFTER-07",
        name="residual-of-the-normed-feature",
        about="The residual of the attention block is the normed feature.",
        stage="draft",
        seen_in=("speculators#297",),
        noticed_by=SCORES,
        place=lambda: _flag(norm_before_residual=True),
    ),
    Fault(
        id="F-DRAFTER-08",
        name="d2t-skipped",
        about="Draft token ids are taken for target token ids.",
        stage="draft",
        seen_in=("NVIDIA-NeMo/Automodel#2447",),
        noticed_by=("JUDGE-DRAFT-VOCAB", "JUDGE-DRAFT-CANDIDATES"),
        place=lambda: _map(lambda absolute, _: torch.arange(len(absolute))),
    ),
    Fault(
        id="F-DRAFTER-09",
        name="d2t-added-twice",
        about="Absolute target ids are read as offsets and the draft id is added once more.",
        stage="draft",
        seen_in=("verl-project/verl-SpeCo#67",),
        noticed_by=("JUDGE-DRAFT-VOCAB", "JUDGE-DRAFT-CANDIDATES"),
        place=lambda: _map(lambda absolute, vocab: (absolute + torch.arange(len(absolute))) % vocab),
    ),
    Fault(
        id="F-DRAFTER-10",
        name="teachers-head-in-the-drafter",
        about="The drafter's own head is replaced by the first rows of the teacher's.",
        stage="draft",
        seen_in=("va#9795",),
        noticed_by=SCORES,
        place=lambda: _product("lm_head", _teachers_head),
    ),
    Fault(
        id="F-DRAFTER-11",
        name="drafter-theta-lost",
        about="The drafter's rope parameters are read under a key that is no longer there.",
        stage="draft",
        seen_in=("speculators#574", "wejoncy/sfllm#32"),
        noticed_by=("JUDGE-DRAFT-KV",),
        place=lambda: _on_drafter(_other_theta),
    ),
    Fault(
        id="F-DRAFTER-12",
        name="feature-not-advanced",
        about="Every draft level is expanded from the feature that expanded the root.",
        stage="draft",
        seen_in=("lmdeploy#4517", "lmdeploy#4520"),
        noticed_by=SCORES,
        place=_same_feature,
    ),
)
