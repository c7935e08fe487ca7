"""Norms, rotary and swiglu against formulas in float64.

Which bugs these catch: a missing or doubled rounding, swapped halves, a norm that stands for another.
"""

from __future__ import annotations

import pytest
import torch

from tests.npu_ops.numbers import DTYPES, assert_rounded, numbers
from tests.npu_ops.truth import UNIT
from tracing.errors import ContractError
from workbench.npu.operators.apply_rotary_pos_emb import npu_apply_rotary_pos_emb
from workbench.npu.operators.norms import npu_add_rms_norm, npu_add_rms_norm_v2, npu_rms_norm
from workbench.npu.operators.rotary_mul import npu_rotary_mul
from workbench.npu.operators.swiglu import npu_swiglu


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


@pytest.mark.parametrize(("heads", "dim", "is_legal"), [(32, 64, True), (33, 64, False), (33, 24, True)])
def test_short_trees_in_bnsd_turn_at_eight_rows_per_head(heads: int, dim: int, is_legal: bool) -> None:
    """B * N may be 8 * S and no more, where half a head is a multiple of 32 bytes; BSND has no such limit."""
    table = torch.ones(1, 1, 4, dim, dtype=torch.bfloat16)
    tree = numbers(1, heads, 4, dim, dtype=torch.bfloat16)
    assert npu_rotary_mul(tree.transpose(1, 2), table.transpose(1, 2), table.transpose(1, 2)).shape[1] == 4
    if is_legal:
        assert npu_rotary_mul(tree, table, table).shape == tree.shape
        return
    with pytest.raises(ContractError, match="NPU-ROTARY-SHORT"):
        npu_rotary_mul(tree, table, table)
