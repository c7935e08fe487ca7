"""No legal call is refused: what the vendor's pages allow goes through contract and emulation in strict mode.

Which bugs these catch: a check stricter than its source, an emulation that cannot do what is allowed.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.npu_ops.legal_attention import dense_calls, packed_calls, paged_calls
from tests.npu_ops.legal_others import (
    DTYPES,
    cache_calls,
    filled,
    gating_calls,
    matmul_calls,
    rotary_calls,
)
from workbench.npu.operators import OPERATORS

FIA = "npu::npu_fused_infer_attention_score"
RENAMED = {
    "actual_seq_lengths": "actual_seq_qlen",
    "actual_seq_lengths_kv": "actual_seq_kvlen",
    "num_heads": "num_query_heads",
    "scale": "softmax_scale",
    "softmax_lse_flag": "return_softmax_lse",
}


def attend_in_both_versions(call: dict[str, Any]) -> None:
    """Run v1 and v2: the same numbers, finite, in the query's dtype."""
    out, lse = OPERATORS[FIA](**call)
    assert out.dtype is call["query"].dtype
    assert bool(out.isfinite().all())
    if call.get("softmax_lse_flag"):
        assert not lse.isnan().any()
        assert lse.dtype is torch.float32
    second, _ = OPERATORS[f"{FIA}_v2"](**{RENAMED.get(name, name): value for name, value in call.items()})
    assert torch.equal(out, second)


@given(dense_calls())
@settings(max_examples=150)
def test_dense_attention(call: dict[str, Any]) -> None:
    attend_in_both_versions(call)


@given(paged_calls())
@settings(max_examples=100)
def test_paged_attention(call: dict[str, Any]) -> None:
    attend_in_both_versions(call)


@given(packed_calls())
@settings(max_examples=100)
def test_packed_attention(call: dict[str, Any]) -> None:
    attend_in_both_versions(call)


@given(rotary_calls())
@settings(max_examples=150)
def test_rotary(call: dict[str, Any]) -> None:
    out = OPERATORS["npu::npu_rotary_mul"](**call)
    assert (out.shape, out.dtype) == (call["input"].shape, call["input"].dtype)


@given(cache_calls())
def test_cache_writes(call: tuple[str, dict[str, Any]]) -> None:
    operator, arguments = call
    OPERATORS[operator](**arguments)
    assert bool(arguments["key_cache"].any()) == bool(arguments["key"][arguments_slots(arguments) >= 0].any())


def arguments_slots(arguments: dict[str, Any]) -> Tensor:
    slots: Tensor = arguments.get("slot_mapping", arguments.get("slot_indices"))
    return slots


@given(matmul_calls())
def test_weight_quant_matmul(call: dict[str, Any]) -> None:
    out = OPERATORS["npu::npu_weight_quant_batchmatmul"](**call)
    assert out.dtype is call["x"].dtype
    assert out.shape[0] == call["x"].shape[0]


@given(gating_calls())
def test_gating(call: dict[str, Any]) -> None:
    weights, experts, _ = OPERATORS["npu::npu_moe_gating_top_k"](**call)
    assert weights.shape == experts.shape == (call["x"].shape[0], call["k"])


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.sampled_from(
        [(d, d) for d in (torch.float16, torch.bfloat16, torch.float32)]
        + [(torch.float16, torch.float32), (torch.bfloat16, torch.float32)]
    ),
    st.data(),
)
def test_norms(shape: list[int], pair: tuple[torch.dtype, torch.dtype], data: st.DataObject) -> None:
    axes = data.draw(st.integers(1, len(shape)))
    x, gamma = filled(*shape, dtype=pair[0]), filled(*shape[-axes:], dtype=pair[1])
    y, rstd = OPERATORS["npu::npu_rms_norm"](x, gamma)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert rstd.shape == (*shape[: len(shape) - axes], *[1] * axes)
    if pair[0] is pair[1]:
        OPERATORS["npu::npu_add_rms_norm"](x, x, gamma)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=8), DTYPES, st.data())
def test_swiglu(shape: list[int], dtype: torch.dtype, data: st.DataObject) -> None:
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    shape[dim] *= 2
    out = OPERATORS["npu::npu_swiglu"](filled(*shape, dtype=dtype), dim)
    shape[dim] //= 2
    assert list(out.shape) == shape


@pytest.mark.parametrize("layout", ["BSND", "TND"])
@given(
    st.sampled_from([64, 128]),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([torch.float16, torch.bfloat16]),
)
@settings(max_examples=20)
def test_rope(layout: str, dim: int, heads: int, kv_heads: int, dtype: torch.dtype) -> None:
    outer = (2, 3) if layout == "BSND" else (5,)
    query, key = filled(*outer, heads, dim, dtype=dtype), filled(*outer, kv_heads, dim, dtype=dtype)
    table = filled(*outer, 1, dim, dtype=dtype)
    OPERATORS["npu::npu_apply_rotary_pos_emb"](query, key, table, table.clone(), layout)
