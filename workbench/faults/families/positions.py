"""Faults of rotary and cache positions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import torch

from tracing.stages import DecodePath, Tensorized
from workbench.faults.edits import deep_node, poked
from workbench.faults.fault import Fault
from workbench.faults.placement import (
    Change,
    Placement,
    Scene,
    after,
    before,
    engine_of,
    on_engine,
    on_operator,
)
from workbench.fused.engine import Engine

ROTARY: Final = "npu_rotary_mul"


def _one_off(by: int) -> Change:
    def change(made: Tensorized, _: Scene) -> Any:
        node = deep_node(made)
        return poked(made, "position_ids", node, made.position_ids[node] + by)

    return change


def _all_at_the_root(made: Tensorized, _: Scene) -> Tensorized:
    return replace(made, position_ids=made.position_ids - made.depths)


def _by_node_number(made: Tensorized, _: Scene) -> Tensorized:
    return replace(made, position_ids=made.cache_positions.copy())


class StalePositions:
    """A teacher whose tree launches read the positions that the step before has left in the buffer."""

    def __init__(self, teacher: Any) -> None:
        self._teacher = teacher
        self._written: dict[int, torch.Tensor] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._teacher, name)

    def forward(self, token_ids: Any, position_ids: torch.Tensor, *rest: Any, **named: Any) -> Any:
        """Run the real forward, a tree's at the positions of the tree before it in the same text."""
        if named.get("blocked") is not None:
            self._written[int(position_ids[0])] = position_ids
            before = [at for at, written in self._written.items() if self._fits(at, written, position_ids)]
            position_ids = self._written[max(before)] if before else position_ids
        return self._teacher.forward(token_ids, position_ids, *rest, **named)

    @staticmethod
    def _fits(at: int, written: torch.Tensor, position_ids: torch.Tensor) -> bool:
        return at < int(position_ids[0]) and written.shape == position_ids.shape


def _stale(engine: Engine) -> Engine:
    teacher: Any = StalePositions(engine.teacher)
    return replace(engine, teacher=teacher)


def _moved_after_build(arguments: tuple[Tensorized], scene: Scene) -> tuple[Any]:
    return (_one_off(1)(arguments[0], scene),)


def _slots_too_early(made: Tensorized, _: Scene) -> Tensorized:
    return replace(made, cache_positions=made.cache_positions - 1)


def _interleaved(
    operator: Callable[..., Any], states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *_: Any
) -> Any:
    """Rotate neighbours (2i, 2i + 1) where the model was trained on halves (i, i + D / 2)."""
    half = states.shape[-1] // 2
    halves_from_pairs = torch.arange(2 * half).view(half, 2).T.flatten()
    pairs_from_halves = torch.argsort(halves_from_pairs)
    rotated = operator(states[..., halves_from_pairs].contiguous(), cos, sin)
    return rotated[..., pairs_from_halves].contiguous()


def _rounded_positions(path: DecodePath) -> DecodePath:
    """Round what goes into the teacher's rotary table; the models of a path are its own."""

    def rounded(_: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        hidden, positions = (*arguments, options.get("position_ids"))[:2]
        return (hidden, positions.bfloat16().long()), {}

    base = vars(engine_of(path).teacher)["_model"].model
    base.rotary_emb.register_forward_pre_hook(rounded, with_kwargs=True)
    return path


def _rotary() -> Placement:
    return on_operator(ROTARY, _interleaved)


FAULTS: Final = (
    Fault(
        id="F-POS-01",
        name="position-one-too-far",
        about="A node stands one position too far.",
        stage="tensorize",
        seen_in=("sgl#25015", "lmdeploy#4517"),
        noticed_by=("POS001", "JUDGE-TENSORIZE-POSITIONS"),
        place=lambda: after("tensorize", _one_off(1)),
    ),
    Fault(
        id="F-POS-02",
        name="position-one-too-near",
        about="A node stands one position too near.",
        stage="tensorize",
        seen_in=("speculators#703",),
        noticed_by=("POS001", "JUDGE-TENSORIZE-POSITIONS"),
        place=lambda: after("tensorize", _one_off(-1)),
    ),
    Fault(
        id="F-POS-03",
        name="positions-not-advanced",
        about="Every node stands at the root's position.",
        stage="tensorize",
        seen_in=("va#3300", "va#9605"),
        noticed_by=("POS001", "JUDGE-TENSORIZE-POSITIONS"),
        place=lambda: after("tensorize", _all_at_the_root),
    ),
    Fault(
        id="F-POS-04",
        name="position-by-node-number",
        about="Positions follow the packed node number instead of the depth.",
        stage="tensorize",
        seen_in=("trt#10343",),
        noticed_by=("POS001", "JUDGE-TENSORIZE-POSITIONS"),
        place=lambda: after("tensorize", _by_node_number),
    ),
    Fault(
        id="F-POS-05",
        name="positions-of-the-step-before",
        about="The launch reads the positions that the step before has left in the buffer.",
        stage="verify",
        seen_in=("sgl#10892", "va#8033"),
        noticed_by=("JUDGE-VERIFY-KV",),
        place=lambda: on_engine(_stale),
    ),
    Fault(
        id="F-POS-06",
        name="cache-position-too-early",
        about="Cache positions are computed before the committed length was corrected.",
        stage="tensorize",
        seen_in=("va#11918",),
        noticed_by=("POS002", "JUDGE-TENSORIZE-CACHE"),
        place=lambda: after("tensorize", _slots_too_early),
    ),
    Fault(
        id="F-POS-07",
        name="rotary-interleaved",
        about="The rotary operator rotates neighbours instead of halves.",
        stage="prefill",
        seen_in=("va#11918", "specforge#536"),
        noticed_by=("JUDGE-PREFILL-KV",),
        place=_rotary,
    ),
    Fault(
        id="F-POS-08",
        name="position-changed-after-build",
        about="A position is written to between its building and the launch.",
        stage="verify",
        seen_in=("va#11918",),
        noticed_by=("JUDGE-INPUT-LAUNCHED",),
        place=lambda: before("verify", _moved_after_build),
    ),
    Fault(
        id="F-POS-09",
        name="rotary-angles-in-half-precision",
        about="Positions are rounded to bfloat16 on their way to the table; beyond 256 they run together.",
        stage="prefill",
        seen_in=("sgl#40419", "va#5131"),
        noticed_by=("JUDGE-PREFILL-KV",),
        need="long_bfloat16",
        place=lambda: Placement(path=_rounded_positions),
    ),
)
