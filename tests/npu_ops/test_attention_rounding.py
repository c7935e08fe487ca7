"""What the kernels do that the formula does not say: roundings, the replaced score, rows with nothing to see.

Which bugs these catch: a mask that is added, weights kept in float32, a sum taken over rounded weights, and
an emulation that turns the device's symptoms into NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from workbench.kernels.calls.common import causal
from workbench.kernels.calls.fused_infer_attention import FIA, decode, masked, paged
from workbench.npu.emulation.attention import half_away
from workbench.npu.modes import use_capabilities, use_mode
from workbench.npu.operators import OPERATORS
from workbench.npu.operators.fused_infer_attention import npu_fused_infer_attention_score as fia


def two_keys(score: float, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """One query whose scores (at scale 0.125) are 0 and about `score`; the values are 0 and 1."""
    query = torch.zeros(1, 1, 1, 16, dtype=dtype)
    query[..., 0] = 8
    key = torch.zeros(1, 2, 1, 16, dtype=dtype)
    key[0, 1, 0, 0] = score
    value = torch.zeros(1, 2, 1, 16, dtype=dtype)
    value[0, 1] = 1
    return query, key, value


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_are_rounded_to_the_dtype_of_the_values_and_their_sum_is_not(dtype: torch.dtype) -> None:
    """Exact: with values 0 and 1 the output is round(round(w) / (1 + w)), not round(w / (1 + w))."""
    differs = 0
    for step in range(1, 120):
        query, key, value = two_keys(-step / 32, dtype)
        out, _ = fia(query, key, value, scale=0.125, input_layout="BSND")
        weight = torch.tensor(np.exp(np.float32(key[0, 1, 0, 0].float().item())))
        exact = weight.to(dtype).float() / (1 + weight)
        expected = half_away(exact) if dtype is torch.float16 else exact.to(dtype)
        assert out[0, 0, 0, 0] == expected
        differs += int(out[0, 0, 0, 0] != (weight / (1 + weight)).to(dtype))
    assert differs > 10  # else the test could not tell


def test_a_blocked_score_is_replaced_not_added() -> None:
    """A score of 1e15 would survive an added -1e12; replaced, the column is gone."""
    query, key, value = two_keys(1e15, torch.float32)
    query = query.repeat(1, 2, 1, 1)
    mask = torch.tensor([[[False, True], [False, False]]])
    out, _ = fia(query, key, value, atten_mask=mask, scale=0.125, input_layout="BSND")
    assert out[0, :, 0, 0].tolist() == [0.0, 1.0]


def test_blocked_columns_do_not_touch_rows_that_see_something() -> None:
    call = masked()
    out, _ = fia(**call)
    call["key"], call["value"] = call["key"].clone(), call["value"].clone()
    call["value"][:, 7] = 1000  # only the last row sees key 7
    changed, _ = fia(**call)
    assert torch.equal(out[:, :3], changed[:, :3])
    assert not torch.equal(out[:, 3], changed[:, 3])


def test_hardware_a_fully_masked_row_is_the_mean_of_the_values_in_use() -> None:
    mask = causal()
    mask[2] = True
    call = masked(atten_mask=mask, actual_seq_lengths_kv=[8, 6], softmax_lse_flag=True)
    with use_mode("hardware"):
        out, lse = fia(**call)
    value = call["value"].float()
    for request, keys in enumerate((8, 6)):
        mean = value[request, :keys].mean(0).repeat_interleave(2, 0)
        # weights are exactly 1; one rounding to bf16 (2^-8) and the order of a float32 sum
        torch.testing.assert_close(out[request, 2].float(), mean, rtol=2.0**-8, atol=1e-6)
    # -1e12 + log(8), in float32
    torch.testing.assert_close(lse[:, :, 2, 0], torch.full((2, 4), -1e12), rtol=1e-6, atol=0)


@pytest.mark.parametrize("inner_precise", [2, 3])
def test_repair_makes_fully_masked_rows_zero(inner_precise: int) -> None:
    mask = causal()
    mask[2] = True
    out, lse = fia(**masked(atten_mask=mask, inner_precise=inner_precise, softmax_lse_flag=True))
    plain, _ = fia(**masked())
    assert bool((out[:, 2] == 0).all())
    assert bool(torch.isposinf(lse[:, :, 2]).all())
    assert torch.equal(out[:, [0, 1, 3]], plain[:, [0, 1, 3]])


def test_hardware_an_inverted_mask_is_obeyed() -> None:
    """The symptom of the wrong polarity: the output depends on the hidden future and not on the past."""
    call = masked(atten_mask=~causal(4, 8), actual_seq_lengths=[3, 3])
    with use_mode("hardware"):
        out, _ = fia(**call)
        call["value"] = call["value"].clone()
        call["value"][:, 0] = 1000
        past, _ = fia(**call)
        call["value"][:, 7] = 1000
        future, _ = fia(**call)
    assert torch.equal(out, past)
    assert not torch.equal(past[:, 0], future[:, 0])


@pytest.mark.parametrize(("kv_len", "is_read"), [(512, True), (513, False)])
def test_hardware_mask_entries_past_512_are_ignored_in_paged_decode(kv_len: int, is_read: bool) -> None:
    """The reported fault; the capability `mask_q1` says that a stack is free of it."""
    blocks = 40
    cache = torch.randn(blocks, 16, 128, generator=torch.Generator().manual_seed(3)).bfloat16()
    mask = torch.zeros(2, 1, 640, dtype=torch.bool)
    mask[:, :, kv_len - 1] = True
    call: dict[str, Any] = paged(
        query=decode()["query"],
        key=cache.repeat(2, 1, 1),
        value=cache.repeat(2, 1, 1),
        block_table=torch.arange(2 * blocks, dtype=torch.int32).view(2, blocks),
        actual_seq_lengths_kv=[kv_len, kv_len],
    )
    with use_mode("hardware"):
        unmasked, _ = fia(**call)
        hidden, _ = fia(**call, atten_mask=mask)
        assert torch.equal(unmasked, hidden) is not is_read
        with use_capabilities(["mask_q1"]):
            repaired, _ = fia(**call, atten_mask=mask)
    assert not torch.equal(repaired, unmasked)


@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("rank", [2, 3, 4])
def test_masks_of_every_rank_mean_the_same(mode: int, rank: int) -> None:
    whole = causal()
    shaped = {2: whole, 3: whole[None], 4: whole[None, None].repeat(2, 1, 1, 1)}[rank]
    padded = torch.ones(1, 6, 11, dtype=torch.bool)
    padded[0, :4, :8] = whole
    expected, _ = fia(**masked(atten_mask=padded))
    out, _ = fia(**masked(atten_mask=shaped.contiguous(), sparse_mode=mode))
    assert torch.equal(out, expected)


def test_decode_replaces_sparse_mode_and_reads_a_mask_per_request() -> None:
    hidden = torch.zeros(2, 8, dtype=torch.bool)
    hidden[0, 5:], hidden[1, 2:] = True, True
    with use_capabilities(["mask_q1"]):
        out, _ = fia(**decode(atten_mask=hidden, sparse_mode=3, next_tokens=0))
    expected, _ = fia(**decode(actual_seq_lengths_kv=[5, 2]))
    assert torch.equal(out, expected)


def test_emulations_leave_their_inputs_alone() -> None:
    call = paged()
    before = {name: value.clone() for name, value in call.items() if isinstance(value, Tensor)}
    OPERATORS[FIA](**call)
    for name, value in before.items():
        assert torch.equal(call[name], value), name


@given(st.integers(0, 0x7BFE), st.booleans(), st.floats(0, 1, width=32))
def test_half_rounding_takes_halfway_cases_away_from_zero(bits: int, negative: bool, fraction: float) -> None:
    """Against exact float64: the nearer half, and at the middle the one of larger magnitude."""
    low, high = (float(np.array(each, np.uint16).view(np.float16)) for each in (bits, bits + 1))
    exact = np.float32(low + (high - low) * fraction)
    distance = float(exact) - low
    expected = high if distance >= high - float(exact) else low
    sign = -1 if negative else 1
    assert half_away(torch.tensor([sign * exact])).item() == sign * expected


def test_half_rounding_at_the_edges() -> None:
    special = torch.tensor([65504.0, 65520.0, torch.inf, -torch.inf, torch.nan, 0.0, 2.0**-25])
    rounded = half_away(special)
    assert rounded[:4].tolist() == [65504.0, torch.inf, torch.inf, -torch.inf]
    assert bool(rounded[4].isnan())
    assert rounded[5:].tolist() == [0.0, 2.0**-24]
