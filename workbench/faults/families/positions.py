"""Faults of rotary and cache positions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

import torch

from tracing.stages import DecodePath, Tensorized
from workbench.faults.edits import deep_node, poked
from workbench.faults.fault import fault
from workbench.faults.placement import Scene, before, engine_of, on_engine, on_operator, on_path
from workbench.fused.engine import Engine

POSITIONS: Final = ("POS001", "JUDGE-TENSORIZE-POSITIONS")


def _one_off(made: Tensorized, by: int) -> Any:
    node = deep_node(made)
    return poked(made, "position_ids", node, made.position_ids[node] + by)


position_fault: Final = partial(fault, stage="tensorize", noticed_by=POSITIONS)


@position_fault("F-POS-01", "sgl#25015", "lmdeploy#4517")
def position_one_too_far(made: Tensorized, _: Scene) -> Any:
    """A node is placed one position too far."""
    return _one_off(made, 1)


@position_fault("F-POS-02", "speculators#703")
def position_one_too_near(made: Tensorized, _: Scene) -> Any:
    """A node is placed one position too near."""
    return _one_off(made, -1)


@position_fault("F-POS-03", "va#3300", "va#9605")
def positions_not_advanced(made: Tensorized, _: Scene) -> Tensorized:
    """Every node is placed at the root's position."""
    return replace(made, position_ids=made.position_ids - made.depths)


@position_fault("F-POS-04", "trt#10343")
def position_by_node_number(made: Tensorized, _: Scene) -> Tensorized:
    """Positions follow the packed node number instead of the depth."""
    return replace(made, position_ids=made.cache_positions.copy())


class RoundedPositions:
    """Rotary tables of positions that went through bfloat16."""

    def __init__(self, rotary: Any) -> None:
        self._rotary = rotary

    def tables(self, position_ids: torch.Tensor, dtype: torch.dtype) -> Any:
        """Return the tables of the nearest positions that bfloat16 has."""
        return self._rotary.tables(position_ids.bfloat16().long(), dtype)


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


@fault("F-POS-05", "sgl#10892", "va#8033", stage="verify", noticed_by=("JUDGE-VERIFY-KV",), placed=on_engine)
def positions_of_the_step_before(engine: Engine) -> Engine:
    """The launch reads the positions that the step before has left in the buffer."""
    teacher: Any = StalePositions(engine.teacher)
    return replace(engine, teacher=teacher)


@fault("F-POS-06", "va#11918", stage="tensorize", noticed_by=("POS002", "JUDGE-TENSORIZE-CACHE"))
def cache_position_too_early(made: Tensorized, _: Scene) -> Tensorized:
    """Cache positions are computed before the committed length was corrected."""
    return replace(made, cache_positions=made.cache_positions - 1)


@fault(
    "F-POS-07",
    "va#11918",
    "specforge#536",
    stage="prefill",
    noticed_by=("JUDGE-PREFILL-KV",),
    placed=on_operator("npu_rotary_mul"),
)
def rotary_interleaved(
    operator: Callable[..., Any], states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *_: Any
) -> Any:
    """The rotary operator rotates neighbours instead of halves.

    Neighbours are `(2i, 2i + 1)`; the model was trained on `(i, i + D / 2)`.
    """
    half = states.shape[-1] // 2
    halves_from_pairs = torch.arange(2 * half, device=states.device).view(half, 2).T.flatten()
    pairs_from_halves = torch.argsort(halves_from_pairs)
    rotated = operator(states[..., halves_from_pairs].contiguous(), cos, sin)
    return rotated[..., pairs_from_halves].contiguous()


@fault("F-POS-08", "va#11918", stage="verify", noticed_by=("JUDGE-INPUT-LAUNCHED",), placed=before("verify"))
def position_changed_after_build(arguments: tuple[Tensorized], _: Scene) -> tuple[Any]:
    """A position is written to between its building and the launch."""
    return (_one_off(arguments[0], 1),)


@fault(
    "F-POS-09",
    "sgl#40419",
    "va#5131",
    stage="prefill",
    noticed_by=("JUDGE-PREFILL-KV",),
    placed=on_path,
    need="long_bfloat16",
)
def rotary_angles_in_half_precision(path: DecodePath) -> DecodePath:
    """Positions are rounded to bfloat16 on their way to the table; beyond 256 they run together."""
    teacher = vars(engine_of(path).teacher)  # the models of a path are its own
    teacher["_rotary"] = RoundedPositions(teacher["_rotary"])
    return path
