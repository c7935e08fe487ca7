"""Norms, rotary, swiglu, scatter, caches, quantised matmul, gating, sampling: against formulas in float64.

Which bugs these catch: a missing or doubled rounding, swapped halves, a write to the wrong slot, the wrong
nibble order, a subtracted offset, a tie broken the wrong way.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.npu_ops.calls import atb, gating, pa_norm, pa_nz, scatter
from tests.npu_ops.truth import UNIT
from workbench.npu.modes import use_mode
from workbench.npu.ops.fusion_attention import npu_fusion_attention
from workbench.npu.ops.moe import npu_moe_gating_top_k, npu_moe_gating_top_k_softmax
from workbench.npu.ops.norms import npu_add_rms_norm, npu_add_rms_norm_v2, npu_rms_norm
from workbench.npu.ops.paged_cache import npu_reshape_and_cache, npu_scatter_pa_kv_cache
from workbench.npu.ops.quant_matmul import npu_convert_weight_to_int4pack, npu_weight_quant_batchmatmul
from workbench.npu.ops.rope import npu_apply_rotary_pos_emb
from workbench.npu.ops.rotary import npu_rotary_mul
from workbench.npu.ops.sampling import npu_top_k_top_p
from workbench.npu.ops.scatter import npu_scatter_nd_update, npu_scatter_nd_update_
from workbench.npu.ops.swiglu import npu_swiglu

DTYPES = [torch.bfloat16, torch.float16, torch.float32]
SLACK = 2.0**-20
"""Relative error of a dozen float32 operations in a row."""


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def assert_rounded(result: Tensor, exact: Tensor, roundings: int = 1) -> None:
    """Assert that `result` is `exact` (float64) after that many roundings, and float32 work before."""
    tiny = 2.0**-24 if result.dtype is torch.float16 else 2.0**-100  # half a step among subnormals, and a bit
    allowed = (roundings * UNIT[result.dtype] * 1.01 + SLACK) * exact.abs() + tiny
    error = (result.double() - exact).abs()
    assert bool((error <= allowed).all()), f"{float((error / allowed).max()):.2f} of the allowance"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gamma_shape", [(32,), (3, 32)])
@pytest.mark.parametrize("wide_gamma", [False, True])
def test_rms_norm_rounds_once(dtype: torch.dtype, gamma_shape: tuple[int, ...], wide_gamma: bool) -> None:
    x = numbers(4, 3, 32, dtype=dtype)
    gamma = numbers(*gamma_shape, seed=1, dtype=torch.float32 if wide_gamma else dtype)
    y, rstd = npu_rms_norm(x, gamma, 1e-5)
    axes = tuple(range(-len(gamma_shape), 0))
    exact = 1 / (x.double().square().mean(axes, keepdim=True) + 1e-5).sqrt()
    assert rstd.shape == exact.shape
    assert rstd.dtype is torch.float32
    assert_rounded(rstd, exact)
    assert y.dtype is dtype
    assert_rounded(y, x.double() * exact * gamma.double())


def test_rms_norm_keeps_nan_and_is_not_the_two_step_norm() -> None:
    """The common model code rounds before gamma; the kernel does not, and some values tell."""
    x, gamma = numbers(64, 64, dtype=torch.bfloat16), numbers(64, seed=1, dtype=torch.bfloat16)
    y, rstd = npu_rms_norm(x, gamma)
    two_steps = (x.float() * rstd).bfloat16() * gamma
    assert not torch.equal(y, two_steps)
    x[0, 0] = torch.nan
    assert bool(npu_rms_norm(x, gamma)[0][0].isnan().all())


@pytest.mark.parametrize("dtype", DTYPES)
def test_add_rms_norm_rounds_as_its_kernel_does(dtype: torch.dtype) -> None:
    """Bit for bit, step by step: fp16 goes on from the rounded sum, bf16 from the exact one."""
    x1, x2, gamma = (numbers(16, 64, seed=i, dtype=dtype) for i in range(3))
    gamma = gamma[0].contiguous()
    y, rstd, total = npu_add_rms_norm(x1, x2, gamma)
    exact_sum = x1.double() + x2.double()
    assert torch.equal(total, exact_sum.to(dtype))  # a sum of two halves is exact in float64
    basis = total.double() if dtype is torch.float16 else exact_sum
    exact = 1 / (basis.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    assert_rounded(rstd, exact)
    middle = (basis.float() * rstd).to(dtype)
    assert torch.equal(y, (middle.float() * gamma.float()).to(dtype))
    assert_rounded(y, basis * exact * gamma.double(), roundings=2)


def test_add_rms_norm_is_not_an_add_and_a_norm() -> None:
    x1, x2 = numbers(64, 64, dtype=torch.bfloat16), numbers(64, 64, seed=1, dtype=torch.bfloat16)
    gamma = numbers(64, seed=2, dtype=torch.bfloat16)
    y, rstd, total = npu_add_rms_norm(x1, x2, gamma)
    assert not torch.equal(y, npu_rms_norm(total, gamma)[0])
    first, second = x1.clone(), x2.clone()
    assert torch.equal(npu_add_rms_norm_v2(first, second, gamma), rstd)
    assert torch.equal(first, total)
    assert torch.equal(second, y)


ROTARY_FORMS = {
    "BNSD": ((2, 3, 5, 64), [(1, 1, 5, 64), (2, 1, 5, 64), (2, 3, 5, 64)]),
    "BSND": ((2, 5, 3, 64), [(1, 5, 1, 64), (2, 5, 1, 64), (2, 5, 3, 64)]),
    "SBND": ((5, 2, 3, 64), [(5, 1, 1, 64), (5, 2, 1, 64), (5, 2, 3, 64)]),
    "TND": ((5, 3, 64), [(5, 1, 64), (5, 3, 64)]),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", ["half", "interleave"])
@pytest.mark.parametrize("form", ROTARY_FORMS)
def test_rotary_turns_pairs(dtype: torch.dtype, mode: str, form: str) -> None:
    """As complex numbers: (a + bi) * (cos + i sin); at most three roundings of parts, summed."""
    shape, tables = ROTARY_FORMS[form]
    x = numbers(*shape, dtype=dtype)
    for table in tables if mode == "half" else tables[:1]:
        angle = numbers(*table[:-1], 32, seed=1).double()
        pairs = torch.cat((angle, angle), -1) if mode == "half" else angle.repeat_interleave(2, -1)
        cosines, sines = pairs.cos().to(dtype), pairs.sin().to(dtype)
        out = npu_rotary_mul(x, cosines, sines, mode)
        split = (
            (x.double()[..., :32], x.double()[..., 32:]) if mode == "half" else (x[..., ::2], x[..., 1::2])
        )
        real, imaginary = (part.double() for part in split)
        pick = (lambda t: t[..., :32]) if mode == "half" else (lambda t: t[..., ::2])
        cosine, sine = pick(cosines.double()), pick(sines.double())
        turned = (real * cosine - imaginary * sine, imaginary * cosine + real * sine)
        exact = torch.cat(turned, -1) if mode == "half" else torch.stack(turned, -1).flatten(-2)
        # one rounding of the result; cancellation leaves float32 errors of the two products
        error = (out.double() - exact).abs()
        allowed = UNIT[dtype] * 1.01 * exact.abs() + 2.0**-22 * x.double().abs().max() + 2.0**-25
        assert bool((error <= allowed).all())


def test_rotary_casts_wide_tables_to_the_input_first() -> None:
    x = numbers(1, 5, 2, 64, dtype=torch.bfloat16)
    angle = numbers(1, 5, 1, 64, seed=1)
    wide = npu_rotary_mul(x, angle.cos(), angle.sin())
    assert torch.equal(wide, npu_rotary_mul(x, angle.cos().bfloat16(), angle.sin().bfloat16()))


@pytest.mark.parametrize("layout", ["BSND", "TND"])
@pytest.mark.parametrize("dim", [64, 128])
def test_apply_rotary_writes_in_place(layout: str, dim: int) -> None:
    outer = (2, 5) if layout == "BSND" else (7,)
    query, key = (
        numbers(*outer, 4, dim, dtype=torch.bfloat16),
        numbers(*outer, 2, dim, seed=1, dtype=torch.bfloat16),
    )
    angle = numbers(*outer, 1, dim // 2, seed=2)
    cosines, sines = (torch.cat((t, t), -1).bfloat16() for t in (angle.cos(), angle.sin()))
    expected = [npu_rotary_mul(tensor, cosines, sines) for tensor in (query, key)]
    results = npu_apply_rotary_pos_emb(query, key, cosines, sines, layout)
    assert results[0] is query
    assert results[1] is key
    assert torch.equal(query, expected[0])
    assert torch.equal(key, expected[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [-1, 0, 1])
def test_swiglu_gates_with_the_first_half(dtype: torch.dtype, dim: int) -> None:
    x = 4 * numbers(6, 4, 8, dtype=dtype)
    gate, up = x.double().chunk(2, dim)
    out = npu_swiglu(x, dim)
    assert out.dtype is dtype
    assert_rounded(out, gate / (1 + (-gate).exp()) * up)


@given(st.data())
def test_scatter_writes_each_place_and_nothing_else(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    depth = data.draw(st.integers(1, len(shape)))
    places = data.draw(
        st.lists(
            st.tuples(*(st.integers(0, size - 1) for size in shape[:depth])),
            min_size=1,
            max_size=5,
            unique=True,
        )
    )
    target = torch.zeros(shape)
    updates = (
        torch.arange(1, 1 + len(places) * torch.zeros(shape[depth:]).numel()).view(-1, *shape[depth:]).float()
    )
    expected = target.clone()
    for place, update in zip(places, updates, strict=True):
        expected[place] = update
    indices = torch.tensor(places, dtype=data.draw(st.sampled_from([torch.int32, torch.int64])))
    assert torch.equal(npu_scatter_nd_update(target, indices, updates), expected)
    assert not target.any()  # the plain form copies
    assert npu_scatter_nd_update_(target, indices, updates) is target
    assert torch.equal(target, expected)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.int8, torch.float16])
def test_scatter_takes_every_dtype_of_its_list(dtype: torch.dtype) -> None:
    call = scatter(input=scatter()["input"].to(dtype), updates=torch.ones(2, 4).to(dtype))
    out = npu_scatter_nd_update(**call)
    assert bool((out[0, 2] == 1).all())
    assert bool((out[5, 1] == 1).all())


@pytest.mark.parametrize("mode", ["Norm", "PA_NZ", "atb"])
def test_tokens_land_in_their_slots(mode: str) -> None:
    """Read back cell by cell; the token with a negative slot is skipped by the ATB form."""
    call = {"Norm": pa_norm, "PA_NZ": pa_nz, "atb": atb}[mode]()
    call["key_cache"].zero_()
    call["value_cache"].zero_()
    slots = call.get("slot_mapping", call.get("slot_indices"))
    (npu_reshape_and_cache if mode == "atb" else npu_scatter_pa_kv_cache)(**call)
    for tokens, cache in ((call["key"], call["key_cache"]), (call["value"], call["value_cache"])):
        seen = torch.zeros_like(cache, dtype=torch.bool)
        for token, slot in zip(tokens, slots.tolist(), strict=True):
            if slot < 0:
                continue
            block, place = divmod(slot, 8)
            for head in range(2):
                for dim in range(16):
                    flat = head * 16 + dim
                    cell = (
                        (block, flat // 16, place, flat % 16)
                        if mode == "PA_NZ"
                        else (block, place, head, dim)
                    )
                    assert cache[cell] == token[head, dim]
                    seen[cell] = True
        assert not cache[~seen].any()


@pytest.mark.parametrize("operator", ["scatter", "atb"])
def test_hardware_repeated_places_keep_one_of_the_writes(operator: str) -> None:
    with use_mode("hardware"):
        if operator == "scatter":
            call = scatter(indices=torch.tensor([[5, 1], [5, 1]]))
            row = npu_scatter_nd_update(**call)[5, 1]
            assert any(torch.equal(row, update) for update in call["updates"])
        else:
            call = atb(slot_indices=torch.tensor([8, 8, 8], dtype=torch.int32))
            npu_reshape_and_cache(**call)
            assert any(torch.equal(call["key_cache"][1, 0], token) for token in call["key"])


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


@pytest.mark.parametrize("layout", ["BSH", "SBH", "BSND", "BNSD"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", ["none", "full", "per_head", 2, 3])
def test_fusion_attention_dense(layout: str, dtype: torch.dtype, mode: str | int) -> None:
    rows, columns, heads, kv_heads, dim = 5, 8, 4, 2, 16
    tensors = [
        numbers(2, size, count, dim, seed=size + count, dtype=dtype)
        for size, count in ((rows, heads), (columns, kv_heads), (columns, kv_heads))
    ]
    tensors[2] = tensors[2] * 2
    hidden = torch.zeros(2, heads, rows, columns, dtype=torch.bool)
    extra: dict[str, Any] = {}
    if mode in {"full", "per_head"}:
        hidden = torch.rand(hidden.shape, generator=torch.Generator().manual_seed(3)) < 0.4
        hidden[..., 0] = False
        hidden = hidden if mode == "per_head" else hidden[:1, :1].repeat(2, heads, 1, 1)
        extra = {"atten_mask": hidden if mode == "per_head" else hidden[0, 0], "sparse_mode": 0}
    elif isinstance(mode, int):
        hidden = hidden | torch.ones(rows, columns, dtype=torch.bool).triu(
            1 if mode == 2 else columns - rows + 1
        )
        extra = {"atten_mask": torch.ones(2048, 2048, dtype=torch.bool).triu(1), "sparse_mode": mode}
    out, top, total, reserved, *dropout = npu_fusion_attention(
        *(fusion_layout(tensor, layout) for tensor in tensors), heads, layout, scale=0.25, **extra
    )
    query, key, value = (tensor.double().transpose(1, 2) for tensor in tensors)
    key, value = key.repeat_interleave(2, 1), value.repeat_interleave(2, 1)
    scores = (query @ key.transpose(-1, -2) * 0.25).masked_fill(hidden, -torch.inf)
    exact, size = scores.softmax(-1) @ value, scores.softmax(-1) @ value.abs()
    shaped = fusion_layout(out, layout, back=heads).transpose(1, 2)
    # weights rounded once, the result once, float32 in between
    allowed = (
        UNIT[dtype] * 1.01 * (size + exact.abs()) + 2.0**-18 * size + 2.0**-16 * (dtype is torch.float16)
    )
    assert bool(((shaped.double() - exact).abs() <= allowed).all())
    assert top.shape == total.shape == (2, heads, rows, 8)
    torch.testing.assert_close(
        (top + total.log())[..., 0].double(), scores.logsumexp(-1), rtol=1e-6, atol=1e-6
    )
    assert reserved.shape == (0,)
    assert dropout == [0, 0, 0]


def fusion_layout(tensor: Tensor, layout: str, back: int = 0) -> Tensor:
    """Turn [B, S, N, D] into a layout, or with `back` heads the other way round."""
    if back:
        tensor = tensor.transpose(0, 1) if layout == "SBH" else tensor
        tensor = tensor.unflatten(-1, (back, -1)) if "H" in layout else tensor
        return tensor.transpose(1, 2) if layout == "BNSD" else tensor
    tensor = tensor.flatten(2) if "H" in layout else tensor
    tensor = tensor.transpose(0, 1) if layout == "SBH" else tensor
    return (tensor.transpose(1, 2) if layout == "BNSD" else tensor).contiguous()


def test_fusion_attention_packed_equals_each_request_alone() -> None:
    query, key, value = numbers(6, 4, 16), numbers(10, 2, 16, seed=1), numbers(10, 2, 16, seed=2)
    out, top, total, *_ = npu_fusion_attention(
        query, key, value, 4, "TND", scale=0.25, actual_seq_qlen=[2, 6, 0], actual_seq_kvlen=[4, 10, 0]
    )
    for rows, columns in ((slice(0, 2), slice(0, 4)), (slice(2, 6), slice(4, 10))):
        alone = npu_fusion_attention(
            query[None, rows], key[None, columns], value[None, columns], 4, "BSND", scale=0.25
        )
        # float32, the same numbers in another matmul shape
        torch.testing.assert_close(out[rows], alone[0][0], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(top[rows], alone[1][0].transpose(0, 1), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(total[rows], alone[2][0].transpose(0, 1), rtol=1e-5, atol=1e-6)
