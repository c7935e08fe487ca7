"""Sparse modes, tree mode, bias, sink and edges of the fused attention emulation.

Which bugs these catch: a band with its corner in the wrong place, a tree square read with the wrong stride, a
slice of the wrong rows, a row out of use that is not empty.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.npu_ops.numbers import numbers
from tests.npu_ops.truth import Truth, assert_near, attention, tree
from workbench.npu.modes import use_capabilities
from workbench.npu.operators.fused_infer_attention import npu_fused_infer_attention_score as fia
from workbench.npu.operators.fused_infer_attention import npu_fused_infer_attention_score_v2 as fia_v2


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
    """Sparse mode 9, behind its capability: the mask covers the last Q_len columns of each request.

    Packed requests differ in length, so that each square has its own stride; dense ones differ in prefix.
    """
    query_lens, kv_lens, dim = ([5, 3], [12, 7], 64) if packed else ([5, 5], [12, 9], 64)
    visible = [tree(rows, columns, columns) for rows, columns in zip(query_lens, kv_lens, strict=True)]
    squares = [~each[:, -len(each) :] for each in visible]
    query = numbers(2, 5, 2, dim, seed=1)
    key, value = numbers(2, 12, 2, dim, seed=2), numbers(2, 12, 2, dim, seed=3)
    used = [
        [each[i, :length] for i, length in enumerate(lengths)]
        for each, lengths in ((query, query_lens), (key, kv_lens), (value, kv_lens))
    ]
    if packed:
        inputs = [torch.cat(parts) for parts in used]
        mask = torch.cat([square.flatten() for square in squares])
        options: dict[str, Any] = {
            "actual_seq_qlen": [5, 8],
            "actual_seq_kvlen": [12, 19],
            "input_layout": "TND",
        }
    else:
        inputs, mask = [query, key, value], torch.stack(squares)
        options = {"actual_seq_kvlen": kv_lens, "input_layout": "BSND"}
    with use_capabilities(["tree_mask_gqa"]):
        out, _ = fia_v2(
            *inputs, atten_mask=mask, sparse_mode=9, num_query_heads=2, softmax_scale=0.125, **options
        )
    results = out.split(query_lens) if packed else list(out)
    for i, result in enumerate(results):
        truth = attention(used[0][i], used[1][i], used[2][i], 0.125, visible[i])
        assert_near(result, None, truth)


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
    monkeypatch.setattr("workbench.npu.emulation.attention.TILE_SCORES", 2 * 4 * 13 * 2)
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
    """The yardstick agrees with another implementation, so it shares no mistake with the emulation."""
    query, key, value = (numbers(size, 4, 16, seed=size).double() for size in (5, 9, 9))
    visible = tree(5, 9)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1), attn_mask=visible, scale=0.25
    ).transpose(0, 1)
    truth: Truth = attention(query, key, value, 0.25, visible)
    torch.testing.assert_close(truth.out, expected)
