"""Which columns a fused attention call processes, and which of those are blocked."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from workbench.npu.modes import has_capability, is_hardware
from workbench.npu.operators.fused_infer_attention.call import UNBOUNDED, FiaCall

IGNORED_FROM: Final = 512
"""KV position from which a mask was seen to be ignored with one query row and a paged cache."""


def seen_columns(call: FiaCall) -> Tensor | None:
    """Return bool [B, rows or 1, columns]: columns that the kernel processes; None when it is all of them.

    A column is processed when it is one of the request's keys, the row one of its queries, and both inside
    the band of the sparse mode.
    """
    rows, columns = call.padded_rows, call.padded_columns
    seen: Tensor | None = None
    if min(call.kv_lens, default=columns) < columns:
        seen = positions(columns, call) < per_request(call.kv_lens, call)
    if min(call.query_lens, default=rows) < rows:
        seen = both(seen, positions(rows, call)[:, None] < per_request(call.query_lens, call))
    band = band_columns(call)
    return seen if band is None else both(seen, band)


def band_columns(call: FiaCall) -> Tensor | None:
    """Return bool [B or 1, rows, columns] that the sparse mode leaves open; None when all is open."""
    if call.is_decode:
        return None  # the decode path replaces sparse mode and tokens by their defaults
    ahead = (
        positions(call.padded_columns, call) - positions(call.padded_rows, call)[:, None]
    )  # 0 on the top-left diagonal
    if call.sparse_mode == 2:
        return (ahead <= 0)[None]
    if call.sparse_mode in {3, 4}:
        ahead = ahead - (per_request(call.kv_lens, call) - per_request(call.query_lens, call))
        return ahead <= 0 if call.sparse_mode == 3 else within(ahead, call)
    banded = call.pre_tokens < UNBOUNDED or call.next_tokens < UNBOUNDED
    if call.sparse_mode == 0 and call.atten_mask is not None and banded:
        return within(ahead, call)[None]
    return None


def within(ahead: Tensor, call: FiaCall) -> Tensor:
    """Whether a column that lies `ahead` of its row's origin is inside [-pre_tokens, next_tokens]."""
    return (ahead >= -call.pre_tokens) & (ahead <= call.next_tokens)


def blocked_columns(call: FiaCall) -> Tensor | None:
    """Return bool [B or 1, rows, columns]: columns whose score is replaced; None without a full mask.

    Modes 2, 3 and 4 carry the compressed causal mask, which adds nothing to the band itself.
    """
    mask = call.atten_mask
    if mask is None:
        return None
    if call.is_decode:
        return decode_mask(call, mask)
    if call.sparse_mode == 9:
        return tree_mask(call, mask)
    if call.sparse_mode not in {0, 1}:
        return None
    return as_batch(mask)[:, : call.padded_rows, : call.padded_columns].bool()


def as_batch(mask: Tensor) -> Tensor:
    """View a mask of 2 to 4 axes as [B or 1, rows, columns]."""
    if mask.dim() == 4:
        return mask[:, 0]
    return mask if mask.dim() == 3 else mask[None]


def decode_mask(call: FiaCall, mask: Tensor) -> Tensor:
    """Return bool [B or 1, 1, columns] for one query row; a 2-D mask is (B, KV_S) here.

    With a paged cache the device was seen to ignore entries from position 512 on; hardware mode does the same
    unless the capability `mask_q1` affirms that this stack is right.
    """
    columns = call.padded_columns
    blocked = (mask[:, None] if mask.dim() == 2 else as_batch(mask)[:, :1])[..., :columns].bool()
    if call.block_table is not None and is_hardware() and not has_capability("mask_q1"):
        blocked = blocked & (positions(columns, call) < IGNORED_FROM)
    return blocked


def tree_mask(call: FiaCall, mask: Tensor) -> Tensor:
    """Return bool [B, rows, columns] of sparse mode 9: the mask covers the last Q_len columns.

    Args:
        call: The call.
        mask: (B, Q_S, Q_S), or for packed layouts 1-D with each request's Q_len * Q_len entries in turn.
    """
    query_lens = per_request(call.query_lens, call)
    column = positions(call.padded_columns, call) - (per_request(call.kv_lens, call) - query_lens)
    row = positions(call.padded_rows, call)[:, None]
    if call.is_packed:
        squares = query_lens * query_lens
        place = squares.cumsum(0) - squares + row * query_lens + column
    else:
        width = mask.shape[-1]
        place = (
            torch.arange(len(mask), device=mask.device)[:, None, None] * width * width + row * width + column
        )
    inside = (column >= 0) & (column < query_lens) & (row < query_lens)
    place = place.clamp(0, max(mask.numel() - 1, 0))
    return mask.flatten()[place].bool() & inside


def repairs_rows(call: FiaCall) -> bool:
    """Whether rows with every column blocked become zero (`inner_precise` bit 1, sparse modes 0 and 1)."""
    return bool(call.inner_precise & 2) and call.sparse_mode in {0, 1}


def both(first: Tensor | None, second: Tensor) -> Tensor:
    """Return the conjunction, `second` alone when there is no first."""
    return second if first is None else first & second


def positions(count: int, call: FiaCall) -> Tensor:
    """Return 0..count-1 on the call's device."""
    return torch.arange(count, device=call.query.device)


def per_request(lengths: list[int], call: FiaCall) -> Tensor:
    """Return lengths as [B, 1, 1]."""
    return torch.tensor(lengths, device=call.query.device)[:, None, None]
