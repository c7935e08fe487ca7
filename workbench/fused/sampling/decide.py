"""The two ways to decide by one uniform: whether to accept, and which token comes."""

from __future__ import annotations

import torch
from torch import Tensor

from tracing.draws import Draws


def accepts(draw: float, probability: float) -> bool:
    """Return whether a draw in `[0, 1)` accepts: never at probability 0, always at 1."""
    return draw < probability


def token_of(draw: float, law: Tensor) -> int:
    """Return the token that a draw gives: the inverse of the cumulative law, ids ascending.

    Args:
        draw: In `[0, 1)`.
        law: Of any scale, `[V]`; its sums are made in float64.
    """
    below = law.double().cpu().cumsum(dim=0)
    token_id = int(torch.searchsorted(below, draw * below[-1], right=True))
    last = int(torch.searchsorted(below, below[-1]))  # beyond it nothing has a share
    return min(token_id, last)


def recorded(draws: Draws, taken: list[float]) -> float:
    """Take a draw and write it down."""
    taken.append(draws.take())
    return taken[-1]
