"""Quantised matmul, gating and sampling against plain python and float64.

Which bugs these catch: the wrong nibble order, a subtracted offset, a tie broken the wrong way.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.npu_ops.numbers import DTYPES, assert_rounded, numbers
from tests.npu_ops.numbers import numbers as numbers_of
from tests.npu_ops.truth import UNIT
from workbench.kernels.calls.moe_gating import gating
from workbench.npu.formats import FRACTAL_NZ, ND, format_of
from workbench.npu.modes import use_mode
from workbench.npu.operators import OPERATORS
from workbench.npu.operators.moe_gating import npu_moe_gating_top_k, npu_moe_gating_top_k_softmax
from workbench.npu.operators.sampling import npu_top_k_top_p
from workbench.npu.operators.weight_quant_batchmatmul import (
    memory_words,
    npu_convert_weight_to_int4pack,
    npu_weight_quant_batchmatmul,
)


@given(st.lists(st.integers(-8, 7), min_size=8, max_size=8))
def test_int4_goes_low_nibble_first(values: list[int]) -> None:
    packed = npu_convert_weight_to_int4pack(torch.tensor([values], dtype=torch.int32))
    assert packed.shape == (1, 1)
    assert packed.dtype is torch.int32
    bits = int(packed) & 0xFFFFFFFF
    for place, value in enumerate(values):
        assert (bits >> (4 * place)) & 0xF == value & 0xF


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("granularity", ["tensor", "column", "group"])
@pytest.mark.parametrize("weight_form", ["int8", "int8_t", "int4", "int4_t"])
@pytest.mark.parametrize("extras", [False, True])
def test_weight_quant_matmul(dtype: torch.dtype, granularity: str, weight_form: str, extras: bool) -> None:
    """(W + offset) * scale in the dtype of x, float32 sums over K = 72, one rounding of the result."""
    rows, inner, columns, group = 5, 72, 16, 32
    generator = torch.Generator().manual_seed(1)
    weight = torch.randint(-8, 8, (inner, columns), generator=generator, dtype=torch.int32)
    stored = {
        "int8": lambda: weight.to(torch.int8),
        "int8_t": lambda: weight.t().contiguous().to(torch.int8).t(),
        "int4": lambda: npu_convert_weight_to_int4pack(weight),
        "int4_t": lambda: npu_convert_weight_to_int4pack(weight.t().contiguous()).t(),
    }[weight_form]()
    shape = {"tensor": (1,), "column": (1, columns), "group": (3, columns)}[granularity]
    scale = numbers(*shape, seed=2, dtype=dtype).abs()
    offset = numbers(*shape, seed=3, dtype=dtype) if extras else None
    bias_dtype = torch.float16 if dtype is torch.float16 else torch.float32
    bias = numbers(columns, seed=4, dtype=bias_dtype) if extras else None
    x = numbers(rows, inner, seed=5, dtype=dtype)
    size = group if granularity == "group" else 0
    out = npu_weight_quant_batchmatmul(x, stored, scale, offset, None, None, bias, size)
    plain = weight.double()
    for row in range(inner):
        which = row // group if size else 0
        factors = scale.double().reshape(-1, shape[-1])[which]
        shift = offset.double().reshape(-1, shape[-1])[which] if offset is not None else 0
        plain[row] = ((weight[row] + shift) * factors).float().to(dtype).double()
    exact = x.double() @ plain + (bias.double() if bias is not None else 0)
    error = (out.double() - exact).abs()
    # one rounding; float32 sums of 72 products; a weight whose float32 value sits on a rounding edge may go
    # the other way by one unit, so a thousandth of the sum of magnitudes is granted for those
    sizes = x.double().abs() @ plain.abs()
    assert bool((error <= UNIT[dtype] * 1.01 * exact.abs() + (2.0**-18 + UNIT[dtype] / 16) * sizes).all())


def test_words_in_tiles_are_packed_and_multiplied_as_others() -> None:
    """FRACTAL_NZ: packing keeps the tag, the memory holds the recorded tiles, the product is the same."""
    data = json.loads((Path(__file__).parents[1] / "data" / "w4a16.json").read_text())
    cast = OPERATORS["npu::npu_format_cast"]
    for case in data["nz"]:
        numbers = torch.tensor(case["w"], dtype=torch.int32)
        packed = npu_convert_weight_to_int4pack(cast(numbers, FRACTAL_NZ))
        assert (format_of(packed), format_of(packed.t()), format_of(packed.clone())) == (
            FRACTAL_NZ,
            FRACTAL_NZ,
            ND,
        )
        assert memory_words(packed).tolist() == case["nz_flat"]
        plain = npu_convert_weight_to_int4pack(numbers)
        assert torch.equal(packed, plain)
        assert torch.equal(memory_words(plain), plain.view(-1))
    weight = torch.arange(128 * 64, dtype=torch.int32).remainder(16).sub(8).view(128, 64)
    x, scale = numbers_of(3, 128), numbers_of(2, 64).abs()
    products = [
        npu_weight_quant_batchmatmul(x, npu_convert_weight_to_int4pack(each), scale, antiquant_group_size=64)
        for each in (weight, cast(weight, FRACTAL_NZ))
    ]
    assert torch.equal(*products)
    with use_mode("hardware"):  # the device drops what does not fit
        assert torch.equal(
            npu_convert_weight_to_int4pack(torch.full((1, 8), 23, dtype=torch.int32)),
            npu_convert_weight_to_int4pack(torch.full((1, 8), 7, dtype=torch.int32)),
        )


@pytest.mark.parametrize("number", range(3))
def test_products_are_the_recorded_ones(number: int) -> None:
    """Exact products of recorded int4 weights; one rounding to float16, float32 sums."""
    data = json.loads((Path(__file__).parents[1] / "data" / "w4a16.json").read_text())
    case = data["matmul"][number]
    weight = npu_convert_weight_to_int4pack(torch.tensor(case["w"], dtype=torch.int32))
    offset = None if case["offset"] is None else torch.tensor(case["offset"]).half()
    out = npu_weight_quant_batchmatmul(
        torch.tensor(case["x"]).half(), weight, torch.tensor(case["scale"]).half(), offset,
        antiquant_group_size=case["group_size"],
    )  # fmt: skip
    exact = torch.tensor(case["y_float64"], dtype=torch.float64)
    assert_rounded(out, exact)


def naive_gating(x: Tensor, k: int, options: dict[str, Any]) -> tuple[list[list[int]], Tensor]:
    """Row by row with python sorting; lower expert first among equals."""
    logits = x.double()
    scores = logits.sigmoid() if options.get("norm_type") else logits.softmax(-1)
    chosen = []
    for row in range(len(x)):
        moved = scores[row] + (options["bias"].double() if "bias" in options else 0)
        groups = options.get("group_count", 1)
        parts = moved.view(groups, -1)
        strength = [
            float(part.max())
            if not options.get("group_select_mode")
            else float(part.sort().values[-2:].sum())
            for part in parts
        ]
        kept = sorted(range(groups), key=lambda g: (-strength[g], g))[: options.get("k_group", 1)]
        size = parts.shape[1]
        candidates = [e for e in range(len(moved)) if e // size in kept]
        chosen.append(sorted(candidates, key=lambda e: (-float(moved[e]), e))[:k])
    weights = scores.gather(-1, torch.tensor(chosen))
    if options.get("norm_type"):
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
    return chosen, weights * options.get("routed_scaling_factor", 1.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("select", [0, 1])
@pytest.mark.parametrize("norm", [0, 1])
@pytest.mark.parametrize("groups", [1, 4])
def test_gating_chooses_groups_then_experts(dtype: torch.dtype, select: int, norm: int, groups: int) -> None:
    x = numbers(6, 16, seed=select, dtype=dtype)
    options: dict[str, Any] = {
        "bias": numbers(16, seed=7, dtype=dtype),
        "group_count": groups,
        "k_group": min(groups, 2),
        "group_select_mode": select,
        "norm_type": norm,
        "routed_scaling_factor": 2.5,
    }
    weights, experts, scores = npu_moe_gating_top_k(x, 3, out_flag=True, **options)
    chosen, exact = naive_gating(x, 3, options)
    assert experts.dtype is torch.int32
    assert experts.tolist() == chosen
    assert weights.dtype is dtype
    assert_rounded(weights, exact)
    assert_rounded(scores, x.double().sigmoid() if norm else x.double().softmax(-1))


def test_gating_ties_scores_out_and_renorm() -> None:
    """Equal logits: the lower expert; scores are NaN unless asked for; renorm 1 in hardware mode only."""
    weights, experts, scores = npu_moe_gating_top_k(torch.zeros(1, 16), 3, group_count=4, k_group=2)
    assert experts.tolist() == [[0, 1, 2]]
    assert weights.tolist() == [[1 / 16] * 3]
    assert bool(scores.isnan().all())
    with use_mode("hardware"):
        weights, _, _ = npu_moe_gating_top_k(**gating(renorm=1, x=gating()["x"].float()))
    torch.testing.assert_close(weights.sum(-1), torch.ones(5))


def test_gating_softmax_with_finished_rows() -> None:
    x = numbers(2, 3, 8)
    finished = torch.tensor([[False, True, False], [False, False, True]])
    weights, experts, row_numbers = npu_moe_gating_top_k_softmax(x, finished, 2)
    exact, order = x.double().softmax(-1).topk(2, -1)
    assert_rounded(weights, exact)
    assert torch.equal(experts.long(), order.masked_fill(finished.unsqueeze(-1), 8))
    assert row_numbers.flatten(0, 1).tolist() == [[row, row + 6] for row in range(6)]
    assert {t.dtype for t in (experts, row_numbers)} == {torch.int32}


def naive_top(logits: list[float], top_p: float, count: int) -> list[bool]:
    """Which tokens stay, by the words of the page, in float64."""
    order = sorted(range(len(logits)), key=lambda i: (logits[i], i))
    smallest = sorted(logits)[-count]
    masses = (
        torch.tensor([logits[i] if logits[i] >= smallest else -torch.inf for i in order]).double().softmax(0)
    )
    kept, total = [False] * len(logits), 0.0
    for token, mass in zip(order, masses.tolist(), strict=True):
        total += mass
        kept[token] = logits[token] >= smallest and (total > 1 - top_p or token == order[-1])
    return kept


@given(
    st.lists(st.integers(-6, 6), min_size=1, max_size=12),
    st.sampled_from([0.0, 0.11, 0.53, 0.87, 1.0]),
    st.data(),
)
def test_top_k_top_p(logits: list[int], top_p: float, data: st.DataObject) -> None:
    """Integer logits make ties; the chosen p never fall on a sum of their probabilities."""
    count = data.draw(st.integers(1, len(logits)))
    row = torch.tensor([logits], dtype=torch.float32)
    out = npu_top_k_top_p(row, torch.tensor([top_p]), torch.tensor([count], dtype=torch.int32))
    kept = torch.tensor([naive_top([float(x) for x in logits], top_p, count)])
    assert torch.equal(out, row.masked_fill(~kept, -torch.inf))


def test_top_p_drops_a_mass_of_exactly_one_minus_p() -> None:
    """Two equal tokens and p = 1/2: the lower place sums to exactly 1 - p and goes."""
    out = npu_top_k_top_p(torch.zeros(1, 2), torch.tensor([0.5]), torch.tensor([2], dtype=torch.int32))
    assert out.tolist() == [[-math.inf, 0.0]]
