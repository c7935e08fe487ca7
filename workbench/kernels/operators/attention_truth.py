"""Attention in float64, one request at a time; shares no code with the emulations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workbench.kernels.kernel import Arguments


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a call.

    Attributes:
        query: [S, N, D].
        key: [S_kv, KVN, D].
        value: [S_kv, KVN, D_v].
        visible: Bool [S, S_kv], True attends.
        sink: [N] or None.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    visible: Tensor
    sink: Tensor | None


@dataclass(frozen=True, slots=True)
class AttendedRows:
    """What a request becomes, in the dtype that was asked for.

    Attributes:
        out, spread: [S, N, D_v], and the root of the sum of squares of weight times value.
        top, total: [S, N], the largest score and the sum of exp(score - top).
        steep: [S, N], the size of scores, by which their rounding scales.
    """

    out: Tensor
    spread: Tensor
    top: Tensor
    total: Tensor
    steep: Tensor


def attended(
    request: Request,
    scale: float,
    dtype: torch.dtype,
    *,
    rounded: torch.dtype | None = None,
    order: Any = None,
) -> AttendedRows:
    """Attend; a row without a visible key is 0.

    Args:
        request: The request.
        scale: Factor on the scores.
        dtype: Of scores and sums.
        rounded: Dtype to which weights are rounded before they meet the values.
        order: Places of the keys, in which they are summed up.
    """
    count = len(request.key)
    places = torch.arange(count, device=request.key.device) if order is None else order.of(count)
    group = request.query.shape[1] // request.key.shape[1]
    key, value = (rows[places].to(dtype).repeat_interleave(group, 1) for rows in (request.key, request.value))
    scores = torch.einsum("snd,tnd->snt", request.query.to(dtype), key) * scale
    hidden = ~request.visible[:, places]
    scores = scores.masked_fill(hidden[:, None], -math.inf)
    # What nobody sees may hold anything, NaN too.
    value = value.masked_fill(hidden.all(0)[:, None, None], 0)
    sink = None if request.sink is None else request.sink.to(dtype).expand(len(scores), -1)
    top = scores.amax(-1) if count else scores.new_full(scores.shape[:2], -math.inf)
    if sink is not None:
        top = torch.maximum(top, sink)
    base = top.masked_fill(top == -math.inf, 0)
    weights = torch.exp(scores - base[..., None])
    total = weights.sum(-1) + (0 if sink is None else torch.exp(sink - base))
    share = weights if rounded is None else weights.to(rounded).to(dtype)
    share = share / total.masked_fill(total == 0, 1)[..., None]
    out = torch.einsum("snt,tnd->snd", share, value)
    spread = torch.einsum("snt,tnd->snd", share.square(), value.square()).sqrt()
    steep = scores.masked_fill(~scores.isfinite(), 0).abs().amax(-1) if count else torch.zeros_like(top)
    return AttendedRows(out, spread, base, total, steep)


def requests(arguments: Arguments, heads: int, kv_heads: int) -> Iterator[Request]:
    """Yield the requests of a call of fused inference attention, by the names of v1."""
    layout = arguments["input_layout"]
    sink, table = arguments.get("learnable_sink"), arguments.get("block_table")
    lens, kv_lens = arguments.get("actual_seq_lengths"), arguments.get("actual_seq_lengths_kv")
    queries = split(arguments["query"], layout, heads, lens)
    if table is not None:
        keys, values = (
            from_blocks(arguments[name], table, kv_lens or [], kv_heads, arguments["block_size"])
            for name in ("key", "value")
        )
    else:
        keys, values = (split(arguments[name], layout, kv_heads, kv_lens) for name in ("key", "value"))
    for number, (query, key, value) in enumerate(zip(queries, keys, values, strict=True)):
        yield Request(query, key, value, visible(arguments, number, len(query), len(key)), sink)


def split(tensor: Tensor, layout: str, heads: int, lengths: list[int] | None) -> list[Tensor]:
    """Return the rows [S, heads, D] of each request; lengths of packed layouts are running totals."""
    if layout == "TND":
        ends = lengths or [len(tensor)]
        return [tensor[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    rows = tensor.unflatten(-1, (heads, -1)) if layout == "BSH" else tensor  # type: ignore[no-untyped-call]  # untyped in torch
    if layout == "BNSD":
        rows = rows.transpose(1, 2)
    given = lengths or [rows.shape[1]]
    sizes = given * len(rows) if len(given) == 1 else given
    return [one[:size] for one, size in zip(rows, sizes, strict=False)]


def from_blocks(cache: Tensor, table: Tensor, lengths: list[int], kv_heads: int, size: int) -> list[Tensor]:
    """Return the rows of each request from a cache [blocks, block_size, KVN * D], row by row."""
    result = []
    for blocks, length in zip(table.tolist(), lengths, strict=False):
        rows = [cache[blocks[row // size], row % size] for row in range(length)]
        flat = torch.stack(rows) if rows else cache.new_zeros(0, cache.shape[-1])
        result.append(flat.view(length, kv_heads, -1))
    return result


def visible(arguments: Arguments, number: int, rows: int, keys: int) -> Tensor:
    """Return bool [S, S_kv]: what the mask and the sparse mode leave in."""
    mask: Tensor | None = arguments.get("atten_mask")
    mode = arguments.get("sparse_mode", 0)
    seen = torch.ones(rows, keys, dtype=torch.bool, device=arguments["query"].device)
    if mode == 3:
        return seen.tril(keys - rows)
    if mode == 2:
        return seen.tril()
    if mask is None:
        return seen
    while mask.dim() > 2:
        mask = mask[number if len(mask) > 1 else 0]
    return ~mask[:rows, :keys].bool()
