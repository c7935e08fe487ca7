"""The private state of one fused decode: caches and what the next draft needs. No modules, no weights."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tracing.stages import IntArray, NullWatch, StageWatch
from workbench.fused.cache.contiguous import ContiguousCache
from workbench.fused.cache.manager import CacheManager
from workbench.fused.cache.rows import RowCache


@dataclass(frozen=True, slots=True)
class NewRows:
    """Rows committed since the last draft, which the drafter has to be fed.

    Attributes:
        features: Teacher features of each row, `[R, 3 * H_target]`.
        token_ids: The token after each row, the root last, int64 `[R]`.
    """

    features: Tensor
    token_ids: Tensor


@dataclass(slots=True)
class FusedState:
    """State between two stages.

    Attributes:
        watch: Who is told before launches.
        caches: Teacher caches, committed and branches.
        drafter_cache: One row per pair (feature j, token j + 1) that was fed to the drafter.
        new_rows: What the next draft begins with; None before prefill.
    """

    watch: StageWatch
    caches: CacheManager
    drafter_cache: ContiguousCache = field(default_factory=lambda: ContiguousCache(1))
    new_rows: NewRows | None = None

    @property
    def committed_len(self) -> int:
        """L, rows of the committed cache."""
        return self.caches.committed_len


def snapshot(state: FusedState) -> FusedState:
    """Copy a state, memory and all; the copy reports to nobody."""
    memo: dict[int, Any] = {id(state.watch): NullWatch()}
    new = state.new_rows
    with torch.inference_mode(mode=False):
        if new is not None:
            memo[id(new)] = NewRows(new.features.clone(), new.token_ids.clone())
        return copy.deepcopy(state, memo)


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
    return {"main": state.caches.main_cache, "drafter": state.drafter_cache}.get(name)
