"""Who sees whom, as boolean arrays `visible[query, key]`, True attends."""

from __future__ import annotations

import torch
from torch import Tensor

from tracing.stages import BoolArray, IntArray


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


def narrower(*windows: int) -> int:
    """Return the smallest window of several that all hold, 0 where none is one."""
    return min((window for window in windows if window), default=0)


def tree_rows(
    position_ids: IntArray, visible: BoolArray, num_prefix: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return positions `[N]` of a tree's nodes, and what they see, `[N, L + N]`: the prefix and `visible`."""
    positions = torch.as_tensor(position_ids, dtype=torch.int64, device=device)
    prefix = torch.ones(len(positions), num_prefix, dtype=torch.bool, device=device)
    return positions, torch.cat([prefix, torch.as_tensor(visible, dtype=torch.bool, device=device)], dim=1)
