"""Attention in plain torch, in the place of the fused operator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from workbench.fused.masks import blocked_from_visible, causal_visible

_FEW_QUERIES: Final = 128
"""Most rows whose scores are written out at once."""
_BLOCK_QUERIES: Final = 64
"""Rows of an ordinary sequence that attend at once; 32 and 128 gained nothing."""


class Bias(NamedTuple):
    """A mask as numbers to add to scores.

    Attributes:
        rows: `[1, 1, Q, KV]`.
        folded: The same for queries that share their key head in a row of their own, `[1, Q * group, KV]`;
            None where a query sees nothing at all, which has no softmax.
    """

    rows: Tensor
    folded: Tensor | None


@dataclass(slots=True)
class EagerMasks:
    """Masks of one forward as eager attention takes them, made at the first layer and kept for the others."""

    _bias: tuple[Tensor, Bias] | None = field(default=None, repr=False)
    _causal: Tensor | None = field(default=None, repr=False)
    _own_keys: Tensor | None = field(default=None, repr=False)

    def bias(self, blocked: Tensor, num_keys: int, group: int, dtype: torch.dtype) -> Bias:
        """Return `blocked` as numbers to add to scores.

        Args:
            blocked: bool `[1, 1, Q, columns]`, True is left out.
            num_keys: Columns that have a key.
            group: Queries that share a key head.
            dtype: Of the scores.
        """
        if self._bias is None or self._bias[0] is not blocked:
            left_out = blocked[..., :num_keys]
            rows = torch.zeros(left_out.shape, dtype=dtype, device=blocked.device)
            rows.masked_fill_(left_out, -torch.inf)
            some_see_nothing = bool(left_out.all(dim=-1).any())
            folded = None if some_see_nothing else rows[0].repeat_interleave(group, dim=1)
            self._bias = blocked, Bias(rows, folded)
        return self._bias[1]

    def causal(self, num_queries: int, num_keys: int, device: torch.device) -> Tensor:
        """Return the mask of the last rows of a sequence, bool `[1, 1, Q, KV]`, True is left out."""
        kept = self._causal
        if kept is None or kept.shape[2:] != (num_queries, num_keys):
            visible = causal_visible(num_queries, num_keys, 0, device)
            kept = self._causal = blocked_from_visible(visible)
        return kept

    def own_keys(self, group: int, like: Tensor) -> Tensor:
        """Return what `in_blocks` adds to the scores of a block over its own keys, `[block * group, block]`.

        Args:
            group: Queries that share a key head.
            like: Has the dtype and device of the scores.
        """
        if self._own_keys is None:
            later = like.new_full((_BLOCK_QUERIES, _BLOCK_QUERIES), -torch.inf).triu_(1)
            self._own_keys = later.repeat_interleave(group, dim=0)
        return self._own_keys


def attend_on_cpu(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    blocked: Tensor | None,
    masks: EagerMasks,
    *,
    whole: bool,
    scale: float,
) -> Tensor:
    """Attend in the way that is fastest for these rows; a row with nothing visible is 0.

    Args:
        query: `[1, Q, H, D]`.
        key: `[1, KV, H_kv, D]`.
        value: As key.
        blocked: bool `[1, 1, Q, columns]`, True is left out; None where all is visible, or `whole`.
        masks: Of this forward.
        whole: These are all rows of an ordinary sequence.
        scale: Factor on the scores.
    """
    num_queries, num_keys = query.shape[1], key.shape[1]
    group = query.shape[2] // key.shape[2]
    in_float32 = query.dtype is torch.float32
    bias = None if blocked is None else masks.bias(blocked, num_keys, group, query.dtype)
    if in_float32 and bias is not None and bias.folded is not None and 1 < num_queries <= _FEW_QUERIES:
        return folded(query, key, value, bias.folded, scale)
    if in_float32 and whole:
        return in_blocks(query, key, value, masks.own_keys(group, query), scale)
    output = functional.scaled_dot_product_attention(
        query.transpose(1, 2),
        key.transpose(1, 2),
        value.transpose(1, 2),
        attn_mask=None if bias is None else bias.rows,
        is_causal=whole,
        scale=scale,
        enable_gqa=group > 1,
    )
    return output.transpose(1, 2).contiguous()


def folded(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float) -> Tensor:
    """Attend with the queries of a key head as rows of one product, so that no key is copied for each.

    Of some rows over a longer cache this took half of the time of torch's own.
    """
    scores = torch.baddbmm(bias, _by_key_head(query, key.shape[2]), key[0].permute(1, 2, 0), alpha=scale)
    return _by_query(torch.bmm(scores.softmax(dim=-1), value[0].transpose(0, 1)), query.shape)


def in_blocks(query: Tensor, key: Tensor, value: Tensor, own_keys: Tensor, scale: float) -> Tensor:
    """Attend over a whole sequence, some queries after the others, each block over the keys up to it.

    Of 550 rows this took two thirds of the time of torch's own, of 1,500 nine tenths.
    """
    num_keys, kv_heads = key.shape[1], key.shape[2]
    group = query.shape[2] // kv_heads
    rows = _by_key_head(query, kv_heads) * scale
    keys, values = key[0].permute(1, 2, 0), value[0].transpose(0, 1)
    mixed = []
    for start in range(0, num_keys, _BLOCK_QUERIES):
        stop = min(start + _BLOCK_QUERIES, num_keys)
        scores = torch.bmm(rows[:, start * group : stop * group], keys[:, :, :stop])
        scores[:, :, start:] += own_keys[: (stop - start) * group, : stop - start]
        mixed.append(torch.bmm(scores.softmax(dim=-1), values[:, :stop]))
    return _by_query(torch.cat(mixed, dim=1), query.shape)


def _by_key_head(query: Tensor, kv_heads: int) -> Tensor:
    """Return `[H_kv, Q * group, D]` of `[1, Q, H, D]`."""
    _, num_queries, num_heads, width = query.shape
    shape = (num_queries, kv_heads, num_heads // kv_heads, width)
    return query.view(shape).transpose(0, 1).reshape(kv_heads, -1, width)


def _by_query(mixed: Tensor, shape: torch.Size) -> Tensor:
    """Return what `_by_key_head` was given the shape of."""
    return mixed.view(len(mixed), shape[1], -1, shape[3]).transpose(0, 1).reshape(shape)


def step_by_step(query: Tensor, key: Tensor, value: Tensor, blocked: Tensor | None, scale: float) -> Tensor:
    """Attend with softmax in float32, no kernel of a device in it; a row with nothing visible is 0."""
    group = query.shape[2] // key.shape[2]
    keys, values = (rows.repeat_interleave(group, dim=2).transpose(1, 2) for rows in (key, value))
    scores = (query.transpose(1, 2) @ keys.transpose(2, 3)).float() * scale
    if blocked is not None:
        blocked = blocked[..., : keys.shape[2]]  # a paged mask reaches to the end of the table
        scores = scores.masked_fill(blocked, torch.finfo(torch.float32).min)
    weights = scores.softmax(dim=-1)
    if blocked is not None:
        weights = weights.masked_fill(blocked, 0.0)
    return (weights.to(query.dtype) @ values).transpose(1, 2).contiguous()
