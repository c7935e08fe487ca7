"""The fused attention twin against the formula in float64, over layouts, dtypes, head ratios and lengths.

Which bugs these catch: a transposed axis, a key head taken for another, a length read as a running total, a
block read from the wrong place, a column too many at a block boundary.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.npu_ops.truth import Truth, assert_near, attention
from workbench.npu.modes import use_capabilities
from workbench.npu.ops.fia import npu_fused_infer_attention_score as fia
from workbench.npu.ops.fia import npu_fused_infer_attention_score_v2 as fia_v2

DTYPES = [torch.bfloat16, torch.float16, torch.float32]
HEADS = [(4, 4), (4, 2), (8, 1), (6, 3)]


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(dtype)


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


def bottom_right(rows: int, columns: int) -> Tensor:
    """Causal, bool [rows, columns], True attends."""
    return torch.ones(rows, columns, dtype=torch.bool).tril(columns - rows)


def tree(rows: int, columns: int, seed: int = 0) -> Tensor:
    """A random tree over the last `rows` columns: the prefix, the ancestors and the node itself attend."""
    generator = torch.Generator().manual_seed(seed)
    visible = torch.zeros(rows, columns, dtype=torch.bool)
    visible[:, : columns - rows] = True
    for node in range(rows):
        if node:
            parent = int(torch.randint(node, (), generator=generator))
            visible[node, columns - rows :] = visible[parent, columns - rows :]
        visible[node, columns - rows + node] = True
    return visible


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


def reference_band(mode: int, rows: int, columns: int, before: int, after: int) -> Tensor:
    """Bool [rows, columns], True attends, cell by cell from the words of the page."""
    visible = torch.zeros(rows, columns, dtype=torch.bool)
    for row in range(rows):
        for column in range(columns):
            origin = row + columns - rows if mode in {3, 4} else row
            visible[row, column] = {
                0: origin - before <= column <= origin + after,
                1: True,
                2: column <= row,
                3: column <= origin,
                4: origin - before <= column <= origin + after,
            }[mode]
    return visible


@pytest.mark.parametrize("mode", [0, 1, 2, 3, 4])
@pytest.mark.parametrize(("before", "after"), [(2, 3), (2**31 - 1, 0), (5, -1), (-1, 2)])
def test_bands_of_the_sparse_modes(mode: int, before: int, after: int) -> None:
    rows, columns = 6, 9
    query, key, value = (numbers(1, size, 2, 16, seed=size) for size in (rows, columns, columns))
    small = torch.zeros(1, rows, columns, dtype=torch.bool)
    large = torch.ones(2048, 2048, dtype=torch.bool).triu(1)
    out, lse = fia(
        query,
        key,
        value,
        atten_mask=small if mode in {0, 1} else large,
        sparse_mode=mode,
        pre_tokens=before,
        next_tokens=after,
        num_heads=2,
        scale=0.25,
        input_layout="BSND",
        softmax_lse_flag=True,
    )
    visible = reference_band(mode, rows, columns, before, after)
    gone = ~visible.any(-1)
    assert bool((out[0, gone] == 0).all())
    assert bool(torch.isposinf(lse[0, :, gone]).all())
    kept = ~gone
    truth = attention(query[0, kept], key[0], value[0], 0.25, visible[kept])
    assert_near(out[0, kept], lse[0, :, kept, 0].T, truth)


def test_mode_0_without_a_mask_ignores_the_band() -> None:
    query, key, value = (numbers(1, size, 2, 16, seed=size) for size in (4, 6, 6))
    common: dict[str, Any] = {"num_heads": 2, "scale": 0.25, "input_layout": "BSND"}
    free, _ = fia(query, key, value, **common)
    banded, _ = fia(query, key, value, pre_tokens=1, next_tokens=0, **common)
    assert torch.equal(free, banded)


@pytest.mark.parametrize("packed", [False, True])
def test_tree_mode_shows_the_prefix_and_reads_the_square(packed: bool) -> None:
    """Sparse mode 9, behind its capability: the mask covers the last Q_S columns of each request."""
    rows, columns, heads, dim = 5, 12, 2, 64
    visible = [tree(rows, columns, seed) for seed in (1, 2)]
    squares = torch.stack([~each[:, -rows:] for each in visible])
    query, key, value = (numbers(2, size, heads, dim, seed=size) for size in (rows, columns, columns + 1))
    value = value[:, :columns].contiguous()
    if packed:
        squares = squares.flatten()
        lengths: dict[str, Any] = {
            "actual_seq_qlen": [rows, 2 * rows],
            "actual_seq_kvlen": [columns, 2 * columns],
            "input_layout": "TND",
        }
        inputs = [tensor.flatten(0, 1) for tensor in (query, key, value)]
    else:
        lengths, inputs = {"input_layout": "BSND"}, [query, key, value]
    with use_capabilities(["tree_mask_gqa"]):
        out, _ = fia_v2(
            *inputs, atten_mask=squares, sparse_mode=9, num_query_heads=heads, softmax_scale=0.125, **lengths
        )
    results = out.view(2, rows, heads, dim)
    for i in range(2):
        assert_near(results[i], None, attention(query[i], key[i], value[i], 0.125, visible[i]))


def test_bias_and_sink() -> None:
    query, key, value = (numbers(1, size, 2, 64, seed=size) for size in (4, 6, 6))
    bias = numbers(1, 2, 5, 8, seed=9)
    out, lse = fia(
        query,
        key,
        value,
        pse_shift=bias,
        num_heads=2,
        scale=0.125,
        input_layout="BSND",
        softmax_lse_flag=True,
    )
    scores = torch.einsum("snd,tnd->nst", query[0].double(), key[0].double()) / 8 + bias[0, :, :4, :6]
    weights = scores.softmax(-1)
    expected = torch.einsum("nst,tnd->snd", weights, value[0].double())
    # float32 throughout: sums of 64 products and of 6 weights, a few dozen roundings of 2^-24
    torch.testing.assert_close(out[0].double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(lse[0, :, :, 0].double(), scores.logsumexp(-1), rtol=1e-5, atol=1e-5)
    sink = torch.tensor([0.5, -1.0]).bfloat16()
    out, _ = fia_v2(
        query[0],
        key[0],
        value[0],
        learnable_sink=sink,
        actual_seq_qlen=[4],
        actual_seq_kvlen=[6],
        num_query_heads=2,
        softmax_scale=0.125,
        input_layout="TND",
    )
    plain = torch.einsum("snd,tnd->nst", query[0].double(), key[0].double()) / 8
    with_sink = torch.cat((plain, sink.double()[:, None, None].expand(2, 4, 1)), -1).softmax(-1)[..., :-1]
    expected = torch.einsum("nst,tnd->snd", with_sink, value[0].double())
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)


def test_slices_of_rows_give_the_same_as_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long prompts are taken in slices; a wrong slice of mask or bias would show here."""
    query, key, value = (numbers(2, size, 4, 16, seed=size) for size in (9, 13, 13))
    visible = tree(9, 13)
    common: dict[str, Any] = {
        "atten_mask": ~visible,
        "pse_shift": numbers(1, 4, 9, 13, seed=4),
        "actual_seq_lengths": [9, 5],
        "num_heads": 4,
        "scale": 0.25,
        "input_layout": "BSND",
        "softmax_lse_flag": True,
    }
    whole = fia(query, key, value, **common)
    monkeypatch.setattr("workbench.npu.ops.attention.TILE_SCORES", 2 * 4 * 13 * 2)
    sliced = fia(query, key, value, **common)
    for one, two in zip(whole, sliced, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)  # another matmul shape, other last bits


def test_rows_and_requests_out_of_use() -> None:
    """Rows past the query length and requests without keys: output 0, log-sum-exp +inf."""
    query, key, value = (numbers(2, size, 2, 16, seed=size) for size in (4, 6, 6))
    out, lse = fia(
        query,
        key,
        value,
        actual_seq_lengths=[2, 4],
        actual_seq_lengths_kv=[6, 0],
        num_heads=2,
        scale=0.25,
        input_layout="BSND",
        softmax_lse_flag=True,
    )
    assert bool((out[0, 2:] == 0).all())
    assert bool((out[1] == 0).all())
    assert bool(torch.isposinf(lse[0, :, 2:]).all())
    assert bool(torch.isposinf(lse[1]).all())
    assert_near(out[0, :2], lse[0, :, :2, 0].T, attention(query[0, :2], key[0], value[0], 0.25))


@pytest.mark.parametrize("layout", ["BSND", "BNSD", "BNSD_BSND"])
def test_empty_queries_and_no_lse(layout: str) -> None:
    empty = torch.empty(0, 2, 2, 16)
    out, lse = fia(empty, empty, empty, num_heads=2, scale=0.25, input_layout=layout)
    assert out.shape == (0, 2, 2, 16)
    assert lse.shape == (0,)
    assert lse.dtype is torch.float32


def test_truth_itself_is_torch_attention() -> None:
    """The yardstick agrees with another implementation, so that it cannot share a mistake with the twin."""
    query, key, value = (numbers(size, 4, 16, seed=size).double() for size in (5, 9, 9))
    visible = tree(5, 9)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1), attn_mask=visible, scale=0.25
    ).transpose(0, 1)
    truth: Truth = attention(query, key, value, 0.25, visible)
    torch.testing.assert_close(truth.out, expected)
