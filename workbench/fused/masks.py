"""Who attends to whom, and its one translation into the device's polarity."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

TEMPLATE_SIZE: Final = 2048
"""Rows and columns of the compressed causal mask that sparse modes 2 to 4 demand, whatever the lengths."""


def blocked_from_visible(visible: Tensor) -> Tensor:
    """Return the operator's mask; the only place where True turns from "attends" into "is left out".

    Args:
        visible: bool `[Q, KV]`, True attends.

    Returns:
        bool `[1, 1, Q, KV]`, contiguous, True is left out.
    """
    return torch.logical_not(visible)[None, None].contiguous()


def causal_visible(num_queries: int, num_keys: int, window: int, device: torch.device) -> Tensor:
    """Return which keys the last `num_queries` rows of a sequence see, each its last `window` ones.

    Args:
        num_queries: Q; query i has position `num_keys - num_queries + i`.
        num_keys: KV, at positions 0..KV-1.
        window: Keys per query, its own included; 0 is all.
        device: Where the result lies.

    Returns:
        bool `[Q, KV]`, True attends.
    """
    key_positions = torch.arange(num_keys, device=device)
    query_positions = key_positions[num_keys - num_queries :]
    return within_window(query_positions, key_positions, window) & (key_positions <= query_positions[:, None])


def padded_to(visible: Tensor, width: int) -> Tensor:
    """Return bool `[Q, width]`: `visible` and behind it columns without a key, which no query sees."""
    missing = width - visible.shape[1]
    return functional.pad(visible, (0, missing)) if missing else visible


def within_window(query_positions: Tensor, key_positions: Tensor, window: int) -> Tensor:
    """Return bool `[Q, KV]`: the key is less than `window` positions behind the query; 0 is no limit."""
    if not window:
        shape = (len(query_positions), len(key_positions))
        return torch.ones(shape, dtype=torch.bool, device=key_positions.device)
    return query_positions[:, None] - key_positions < window


@lru_cache(maxsize=4)
def causal_template(device: torch.device) -> Tensor:
    """Return the compressed causal mask, bool `[1, 1, 2048, 2048]`, True above the diagonal."""
    with torch.inference_mode(mode=False):
        positions = torch.arange(TEMPLATE_SIZE, device=device)
        return blocked_from_visible(positions <= positions[:, None])
