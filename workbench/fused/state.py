"""The private state of one fused decode: caches and what the next draft needs. No modules, no weights."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tracing.draws import Draws
from tracing.intermediates import Give
from tracing.sampling import Chooser
from tracing.stages import IntArray, NullWatch, StageWatch
from workbench.fused.cache.manager import CacheManager
from workbench.fused.cache.rows import RowCache
from workbench.fused.drafters.seam import Memory
from workbench.fused.step_inputs import StepInputs


@dataclass(slots=True)
class FusedState:
    """State between two stages.

    Attributes:
        watch: Called before launches.
        caches: Teacher caches, committed and branches.
        memory: The drafter's own, see `workbench.fused.drafters.seam.Memory`.
        chooser: Picks roots and accepted paths; None is greedy.
        inputs: Of verify, at fixed places; None where trees differ from step to step.
        give: Takes the tensors of the forwards by name while somebody asks; see `workbench.fused.seen`.
    """

    watch: StageWatch
    caches: CacheManager
    memory: Memory
    chooser: Chooser | None = None
    inputs: StepInputs | None = None
    give: Give | None = None

    @property
    def committed_len(self) -> int:
        """L, rows of the committed cache."""
        return self.caches.committed_len

    @property
    def draws(self) -> Draws | None:
        """Where chance comes from; None in greedy decoding."""
        return None if self.chooser is None else self.chooser.draws


def snapshot(state: FusedState) -> FusedState:
    """Copy a state, memory and all; the copy reports to a null watch."""
    memo: dict[int, Any] = {id(state.watch): NullWatch(), id(state.give): None}
    with torch.inference_mode(mode=False):
        memo[id(state.memory)] = state.memory.snapshot()
        return copy.deepcopy(state, memo)


def static_inputs(state: FusedState) -> dict[str, Tensor]:
    """Return the inputs of verify at fixed places; see `tracing.stages.DecodePath`."""
    return {} if state.inputs is None else state.inputs.by_name()


def kv_rows(state: FusedState, cache: str, positions: IntArray) -> Tensor | None:
    """Copy rows of a cache as `[layers, 2, kv_heads, R, D]`; see `tracing.stages.DecodePath`."""
    found = _cache(state, cache)
    if found is None or found.get_seq_length() == 0:
        return None
    return found.gather(positions).transpose(2, 3).contiguous()


def kv_lengths(state: FusedState, cache: str) -> tuple[int, ...] | None:
    """Return the length of each layer of a cache, or None where there is no such cache yet."""
    found = _cache(state, cache)
    return None if found is None else found.lengths


def _cache(state: FusedState, name: str) -> RowCache | None:
    if name == "branch":
        return state.caches.branch_caches[0] if state.caches.branch_caches else None
    return {"main": state.caches.main_cache, "drafter": state.memory.cache}.get(name)
