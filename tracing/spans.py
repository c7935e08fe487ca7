"""What a layer lets a query see of the context: all of it, a sliding window, or the query's own chunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Reach:
    """Keys that causal attention leaves to a query, by logical position.

    Attributes:
        window: Tokens that a query sees, its own included, or the length of a chunk; 0 for all.
        is_chunk: The context is cut into chunks of `window` tokens and a query sees its own chunk only.
        num_sinks: First tokens of the context that every query sees, whatever the window.
    """

    window: int = 0
    is_chunk: bool = False
    num_sinks: int = 0

    @property
    def text(self) -> str:
        """For a message, e.g. `a window of 20 tokens`."""
        if not self.window:
            return "full attention"
        kind = "chunks" if self.is_chunk else "a window"
        return f"{kind} of {self.window} tokens" + (f" and {self.num_sinks} sinks" if self.num_sinks else "")

    def reaches(self, query_positions: NDArray[Any], key_positions: NDArray[Any]) -> NDArray[np.bool_]:
        """Return bool `[..., Q, K]`, True where the span leaves the key; causality is not in it.

        Args:
            query_positions: int `[..., Q]`.
            key_positions: int `[..., K]`.
        """
        queries, keys = np.asarray(query_positions)[..., None], np.asarray(key_positions)[..., None, :]
        if not self.window:
            return np.ones(np.broadcast_shapes(queries.shape, keys.shape), dtype=np.bool_)
        near = (
            keys // self.window == queries // self.window if self.is_chunk else queries - keys < self.window
        )
        left: NDArray[np.bool_] = near | (keys < self.num_sinks)
        return left

    def num_prefix(self, positions: NDArray[Any], committed_len: Any) -> NDArray[np.int64]:
        """Return how many of the committed rows a query at each position sees, shaped like `positions`."""
        positions = np.asarray(positions, dtype=np.int64)
        whole: NDArray[np.int64] = np.zeros_like(positions) + committed_len
        if not self.window:
            return whole
        beyond = positions - positions % self.window if self.is_chunk else positions - self.window + 1
        hidden = np.clip(beyond, 0, whole)
        seen: NDArray[np.int64] = whole - hidden + np.minimum(self.num_sinks, hidden)
        return seen


FULL = Reach()
