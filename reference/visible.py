"""Who sees whom, as boolean arrays `visible[query, key]`, True attends."""

from __future__ import annotations

import torch
from torch import Tensor


def causal(num_rows: int, window: int | None, device: torch.device) -> Tensor:
    """Return `[R, R]`: every row sees itself and the rows before it, the last `window` of them."""
    positions = torch.arange(num_rows, device=device)
    return (positions[None, :] <= positions[:, None]) & near(positions, positions, window)


def near(query_positions: Tensor, key_positions: Tensor, window: int | None) -> Tensor:
    """Return `[Q, S]`: True where the key is fewer than `window` positions behind; all True without one."""
    if not window:
        return torch.ones(
            len(query_positions), len(key_positions), dtype=torch.bool, device=query_positions.device
        )
    return query_positions[:, None] - key_positions[None, :] < window


def side_by_side(left: Tensor, right: Tensor) -> Tensor:
    """Return the two arrays side by side: the same queries, first the left keys, then the right ones."""
    return torch.cat([left, right], dim=1)
