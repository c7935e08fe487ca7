"""Between packed sequences [1, T, ...] and padded ones [B, S, ...], without a loop over requests."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor


def unpack(packed: Tensor, lengths: Sequence[int]) -> Tensor:
    """Give every request its own padded row.

    Args:
        packed: [1, T, ...], requests behind each other.
        lengths: Rows per request; they sum to at most T.

    Returns:
        [B, max(lengths), ...]; what lies past a request's length is unspecified but finite if `packed` is.
    """
    longest = max(lengths, default=0)
    if len(lengths) == 1:
        return packed[:, :longest]
    return packed[0, padded_from_packed(lengths, packed.device).clamp(max=max(packed.shape[1] - 1, 0))]


def pack(padded: Tensor, lengths: Sequence[int]) -> Tensor:
    """Undo `unpack`: [B, S, ...] to [1, sum(lengths), ...]."""
    if len(lengths) == 1:
        return padded[:, : lengths[0]]
    return padded[in_use(lengths, padded.shape[1], padded.device)].unsqueeze(0)


def padded_from_packed(lengths: Sequence[int], device: torch.device) -> Tensor:
    """Index [B, max(lengths)] of the packed row that each padded place holds."""
    sizes = torch.tensor(lengths, device=device)
    starts = sizes.cumsum(0) - sizes
    return starts[:, None] + torch.arange(max(lengths, default=0), device=device)


def in_use(lengths: Sequence[int], width: int, device: torch.device) -> Tensor:
    """Bool [B, width]: which padded places hold a row."""
    return torch.arange(width, device=device) < torch.tensor(lengths, device=device)[:, None]


def differences(totals: Sequence[int]) -> list[int]:
    """Return the length of each request from running totals."""
    return [after - before for before, after in pairwise([0, *totals])]
