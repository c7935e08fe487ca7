"""Emulated fused attention against the formula in float64, over layouts, dtypes, head ratios and lengths.

Which bugs these catch: a transposed axis, a key head taken for another, a length read as a running total, a
block read from the wrong place, a column too many at a block boundary.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.npu_ops.numbers import DTYPES, numbers
from tests.npu_ops.truth import assert_near, attention, bottom_right, tree
from workbench.npu.operators.fused_infer_attention import npu_fused_infer_attention_score as fia

HEADS = [(4, 4), (4, 2), (8, 1), (6, 3)]


def from_layout(tensor: Tensor, layout: str, heads: int) -> Tensor:
    """Return [B, S, N, D] of a BSH, BSND or BNSD tensor."""
    if layout == "BSH":
        return tensor.view(*tensor.shape[:2], heads, -1)
    return tensor.transpose(1, 2) if layout == "BNSD" else tensor


def to_layout(tensor: Tensor, layout: str) -> Tensor:
    """Return a [B, S, N, D] tensor contiguous in BSH, BSND or BNSD."""
    if layout == "BSH":
        return tensor.flatten(2).contiguous()
    return (tensor.transpose(1, 2) if layout == "BNSD" else tensor).contiguous()


@pytest.mark.parametrize("layout", ["BSH", "BSND", "BNSD", "BNSD_BSND", "BSND_BNSD", "BSH_BNSD"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("heads", HEADS)
def test_dense_layouts_with_a_tree_mask(layout: str, dtype: torch.dtype, heads: tuple[int, int]) -> None:
    rows, columns, dim = 7, 21, 64
    query = numbers(2, rows, heads[0], dim, seed=1, dtype=dtype)
    key = numbers(2, columns, heads[1], dim, seed=2, dtype=dtype)
    value = numbers(2, columns, heads[1], dim, seed=3, dtype=dtype)
    visible = torch.stack([tree(rows, columns, seed) for seed in (4, 5)])
    source, _, target = layout.partition("_")
    out, lse = fia(
        *(to_layout(tensor, source) for tensor in (query, key, value)),
        atten_mask=~visible,
        num_heads=heads[0],
        num_key_value_heads=heads[1],
        scale=dim**-0.5,
        input_layout=layout,
        softmax_lse_flag=True,
    )
    assert out.dtype is dtype
    assert out.is_contiguous()
    assert lse.shape == (2, heads[0], rows, 1)
    results = from_layout(out, target or source, heads[0])
    for i in range(2):
        truth = attention(query[i], key[i], value[i], dim**-0.5, visible[i])
        assert_near(results[i], lse[i, :, :, 0].T, truth, layout)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", ["BnBsH", "BnNBsD", "NZ"])
@pytest.mark.parametrize("lengths", [(15, 16), (17, 1), (32, 31), (33, 48)])
@pytest.mark.parametrize("rows", [1, 3])
def test_paged_keys_at_block_boundaries(
    form: str, dtype: torch.dtype, lengths: tuple[int, int], rows: int
) -> None:
    heads, kv_heads, dim, size = 4, 2, 64, 16
    query = numbers(2, rows, heads, dim, seed=1, dtype=dtype)
    pool = numbers(8, size, kv_heads, 2 * dim, seed=2, dtype=dtype)
    blocks = torch.tensor([[5, 0, 7], [2, 6, 1]], dtype=torch.int32)
    caches, contents = [], []
    for part in (pool[..., :dim], pool[..., dim:]):
        rows_of = [part[blocks[i].long()].flatten(0, 1)[: lengths[i]] for i in range(2)]
        contents.append(rows_of)
        stale = part.clone()
        for i in range(2):  # what lies past the last key is stale, even NaN, and must not matter
            stale[blocks[i, -(-lengths[i] // size) :].long()] = torch.nan
            stale[int(blocks[i, (lengths[i] - 1) // size]), (lengths[i] - 1) % size + 1 :] = torch.nan
        caches.append(in_form(stale, form))
    out, lse = fia(
        query,
        *caches,
        block_table=blocks,
        actual_seq_lengths_kv=list(lengths),
        block_size=size,
        num_heads=heads,
        num_key_value_heads=kv_heads,
        scale=0.125,
        input_layout="BSND",
        softmax_lse_flag=True,
    )
    for i in range(2):
        truth = attention(query[i], contents[0][i], contents[1][i], 0.125)
        assert_near(out[i], lse[i, :, :, 0].T, truth, form)


def in_form(cache: Tensor, form: str) -> Tensor:
    """Return a cache [blocks, block_size, KVN, D] in one of the three documented forms."""
    if form == "BnBsH":
        return cache.flatten(2).contiguous()
    heads_first = cache.transpose(1, 2)
    if form == "NZ":
        return heads_first.unflatten(-1, (-1, 16)).transpose(2, 3).contiguous()
    return heads_first.contiguous()


@pytest.mark.parametrize("layout", ["TND", "NTD", "NTD_TND"])
@pytest.mark.parametrize("paged", [False, True])
@pytest.mark.parametrize("mode", [0, 3])
def test_packed_requests(layout: str, paged: bool, mode: int) -> None:
    """Query lengths are running totals always, key lengths only without a block table."""
    heads, kv_heads, dim, size, dtype = 4, 2, 64, 16, torch.bfloat16
    query_lens, kv_lens = [3, 1, 5], [17, 16, 9]
    query = numbers(sum(query_lens), heads, dim, seed=1, dtype=dtype)
    keys = [numbers(length, kv_heads, 2 * dim, seed=length, dtype=dtype) for length in kv_lens]
    source, _, target = layout.partition("_")
    extra: dict[str, Any] = {"actual_seq_lengths_kv": list(accumulate(kv_lens))}
    key, value = torch.cat(keys).split(dim, -1)
    if paged:
        table = torch.tensor([[4, 1], [3, -1], [0, -1]], dtype=torch.int32)
        pool = torch.full((5, size, kv_heads, 2 * dim), torch.nan, dtype=dtype)
        for row, rows in zip(table.tolist(), keys, strict=True):
            for place, token in enumerate(rows):
                pool[row[place // size], place % size] = token
        key, value = (part.flatten(2).contiguous() for part in pool.split(dim, -1))
        extra = {"actual_seq_lengths_kv": kv_lens, "block_table": table, "block_size": size}
    elif source == "NTD":
        key, value = key.transpose(0, 1), value.transpose(0, 1)
    if mode == 3:
        extra |= {"sparse_mode": 3, "atten_mask": torch.ones(2048, 2048, dtype=torch.bool).triu(1)}
    out, lse = fia(
        (query.transpose(0, 1) if source == "NTD" else query).contiguous(),
        key.contiguous(),
        value.contiguous(),
        actual_seq_lengths=list(accumulate(query_lens)),
        num_heads=heads,
        num_key_value_heads=kv_heads,
        scale=0.125,
        input_layout=layout,
        softmax_lse_flag=True,
        **extra,
    )
    assert lse.shape == (sum(query_lens), heads, 1)
    results = out.transpose(0, 1) if (target or source) == "NTD" else out
    start = 0
    for rows, content in zip(query_lens, keys, strict=True):
        taken = slice(start, start + rows)
        visible = bottom_right(rows, len(content)) if mode == 3 else None
        truth = attention(query[taken], content[..., :dim], content[..., dim:], 0.125, visible)
        assert_near(results[taken], lse[taken, :, 0], truth, layout)
        start += rows


@pytest.mark.parametrize("kv_len", [1, 511, 512, 513, 1030])
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_lengths_around_a_tile_of_512(kv_len: int, rows: int, dtype: torch.dtype) -> None:
    """The capacity is larger than the keys in use, and what lies beyond them is NaN."""
    query = numbers(1, rows, 2, 64, seed=1, dtype=dtype)
    key = numbers(1, 1040, 2, 64, seed=2, dtype=dtype)
    value = numbers(1, 1040, 2, 64, seed=3, dtype=dtype)
    key[:, kv_len:], value[:, kv_len:] = torch.nan, torch.nan
    out, lse = fia(
        query,
        key,
        value,
        actual_seq_lengths_kv=[kv_len],
        num_heads=2,
        scale=0.125,
        input_layout="BSND",
        softmax_lse_flag=True,
    )
    truth = attention(query[0], key[0, :kv_len], value[0, :kv_len], 0.125)
    assert_near(out[0], lse[0, :, :, 0].T, truth)
