"""Distances to the most attended key, counted by head, depth and bucket."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracing.distances import DEFAULT_EDGES

Counts = NDArray[np.int64]
MAX_HEADS, MAX_DEPTH = 1024, 256
"""What is counted by name: a damaged depth must not ask for memory."""
DASH: Final = "\u2013"
_UNKNOWN: Final = 0
"""Place of the distances whose depth is not known; depth d is at d + 1."""


def bucket_names(edges: Sequence[int]) -> tuple[str, ...]:
    """Return `0`, `1`, `2_3`, ..., `256_plus` for lower edges 0, 1, 2, 4, ..., 256."""
    names = [str(low) if high == low + 1 else f"{low}_{high - 1}" for low, high in itertools.pairwise(edges)]
    return (*names, f"{edges[-1]}_plus")


def bucket_labels(edges: Sequence[int]) -> tuple[str, ...]:
    """Return the names as a person reads them, with a dash between the edges: `256+` for the last."""
    return tuple(name.replace("_plus", "+").replace("_", DASH) for name in bucket_names(edges))


@dataclass(slots=True)
class DistanceTable:
    """Counted distances; grows step by step.

    Attributes:
        edges: Lower edges of the buckets, ascending.
        counts: int64 `[H, 1 + depths, buckets]`, by depth of the node whose expansion was probed; first those
            whose depth is not known.
        num_steps: Steps counted.
        outside: Distances below the first edge; they are in no bucket.
    """

    edges: tuple[int, ...] = DEFAULT_EDGES
    counts: Counts = field(default_factory=lambda: np.zeros((0, 1, 0), np.int64))
    num_steps: int = 0
    outside: int = 0

    def add(self, offsets: NDArray[Any], depths: NDArray[Any] | None) -> None:
        """Count one step.

        Args:
            offsets: Distances `[N, H]`, masked where a node was never expanded.
            depths: Depth of each node `[N]`, or None where not recorded.
        """
        known = ~np.ma.getmaskarray(offsets)
        heads = np.broadcast_to(np.arange(offsets.shape[1]), offsets.shape)
        per_node = np.full(len(offsets), -1)
        if depths is not None and len(depths) == len(offsets):
            per_node = np.ma.filled(depths, -1)
        levels = np.broadcast_to(per_node[:, None], offsets.shape)
        self.add_flat(np.ma.getdata(offsets)[known], heads[known], levels[known])
        self.num_steps += 1

    def add_flat(self, offsets: NDArray[Any], heads: NDArray[Any], depths: NDArray[Any]) -> None:
        """Count distances one by one, `[M]` each; a depth below 0 is not recorded."""
        inside = offsets >= self.edges[0]
        self.outside += int(len(offsets) - inside.sum())
        inside &= heads < MAX_HEADS
        offsets, heads, depths = (each[inside].astype(np.int64) for each in (offsets, heads, depths))
        places = np.where((depths >= 0) & (depths <= MAX_DEPTH), depths + 1, _UNKNOWN)
        buckets = np.searchsorted(np.asarray(self.edges), offsets, side="right") - 1
        shape = (
            max(len(self.counts), int(heads.max(initial=-1)) + 1),
            max(self.counts.shape[1], int(places.max(initial=0)) + 1),
            len(self.edges),
        )
        flat = (heads * shape[1] + places) * shape[2] + buckets
        grown = np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape).astype(np.int64)
        if self.counts.size:
            grown[: self.counts.shape[0], : self.counts.shape[1]] += self.counts
        self.counts = grown

    @property
    def by_head(self) -> Counts:
        """Counts `[H, buckets]`."""
        return np.asarray(self.counts.sum(axis=1))

    @property
    def by_depth(self) -> Counts:
        """Counts `[depths, buckets]`, without those whose depth is not known."""
        return np.asarray(self.counts[:, _UNKNOWN + 1 :].sum(axis=0))

    @property
    def far_by_head_and_depth(self) -> NDArray[np.float64]:
        """Share of the open last bucket `[H, depths]`, NaN where nothing was counted."""
        known = self.counts[:, _UNKNOWN + 1 :]
        totals = known.sum(axis=2)
        shares = np.full(totals.shape, np.nan)
        np.divide(known[:, :, -1], totals, out=shares, where=totals > 0)
        return shares

    @property
    def total(self) -> int:
        """Distances counted."""
        return int(self.counts.sum())

    @property
    def far_share(self) -> float | None:
        """Share of the open last bucket, None where nothing was counted."""
        return float(self.counts[:, :, -1].sum() / self.total) if self.total else None
