"""What the reference path remembers between stages, and the read-only windows on its caches."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from tracing.sampling import Chooser
from tracing.stages import IntArray, NullWatch, StageWatch


@dataclass(slots=True)
class ReferenceState:
    """Committed tokens, the root and, on the cached rung, caches.

    Tensors and lists in here are replaced, never changed in place, so that `copy.copy` is a full copy of a
    greedy state; a chooser has draws, which move on.

    Attributes:
        watch: Called before each stage runs.
        token_ids: Committed tokens, L of them.
        root: Last emitted token, to be fed at position L.
        features: Tapped teacher features of the committed tokens, `[L, F]`; None before prefill.
        main_kv: Teacher rows 0..L-1, `[layers, 2, kv_heads, L, D]`; None without a cache.
        drafter_kv: The drafter's own rows of committed tokens, `[layers, 2, kv_heads, S, D]`; None without.
        branch_kv: Prefix and nodes of the last verify, `[layers, 2, kv_heads, L + N, D]`; None without.
        chooser: Picks roots and accepted paths; None is greedy.
        node_kv: Its node rows while they wait for commit, `[layers, 2, kv_heads, N, D]`.
    """

    watch: StageWatch = field(default_factory=NullWatch)
    chooser: Chooser | None = None
    token_ids: tuple[int, ...] = ()
    root: int = 0
    features: Tensor | None = None
    main_kv: Tensor | None = None
    drafter_kv: Tensor | None = None
    branch_kv: Tensor | None = None
    node_kv: Tensor | None = None

    @property
    def committed_len(self) -> int:
        """L."""
        return len(self.token_ids)

    def cache(self, name: str) -> Tensor | None:
        """Return the cache `main`, `branch` or `drafter`, or None where there is none."""
        return {"main": self.main_kv, "branch": self.branch_kv, "drafter": self.drafter_kv}.get(name)


def kv_rows(state: ReferenceState, cache: str, positions: IntArray) -> Tensor | None:
    """Copy rows of a cache, `[layers, 2, kv_heads, R, D]`; see `tracing.stages.DecodePath.kv_rows`."""
    kv = state.cache(cache)
    return None if kv is None else kv[:, :, :, torch.as_tensor(positions, device=kv.device)].clone()


def kv_lengths(state: ReferenceState, cache: str) -> tuple[int, ...] | None:
    """Return the length of each layer of a cache, or None where there is none."""
    kv = state.cache(cache)
    return None if kv is None else (kv.shape[3],) * kv.shape[0]
