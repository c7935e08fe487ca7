"""The product in blocked storage: the same numbers, and never a wrong one for the sake of speed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from workbench.fused import linear
from workbench.fused.linear import Linear, can_pack, fits_twice, joined


@pytest.fixture
def fresh_answer() -> Any:
    """Whether this machine can pack is found out once a process; a test that changes the answer clears it."""
    can_pack.cache_clear()
    yield
    can_pack.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("num_rows", [1, 2, 7, 64])
@pytest.mark.parametrize("with_bias", [True, False])
def test_a_packed_weight_gives_the_plain_product(
    dtype: torch.dtype, num_rows: int, *, with_bias: bool
) -> None:
    """Against float64: 96 products of size 1 in another order are off by some ulp of the result, not more."""
    random = torch.Generator().manual_seed(num_rows)
    weight = torch.randn(40, 96, generator=random).to(dtype)
    bias = torch.randn(40, generator=random).to(dtype) if with_bias else None
    rows = torch.randn(1, num_rows, 96, generator=random).to(dtype)
    exact = rows.double() @ weight.double().t() + (0 if bias is None else bias.double())
    ours = Linear(weight, bias, pack=True)(rows)
    assert (ours.dtype, ours.shape) == (dtype, exact.shape)
    allowed = 16 * torch.finfo(dtype).eps * exact.abs().max()
    assert (ours.double() - exact).abs().max() <= allowed


def test_joined_products_stand_behind_each_other() -> None:
    parts = [torch.nn.Linear(8, size) for size in (4, 2, 6)]
    rows = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = torch.cat([part(rows) for part in parts], dim=-1)
        torch.testing.assert_close(joined(parts, pack=True)(rows), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("problem", ["missing", "refused", "wrong"])
def test_a_torch_without_the_blocked_product_uses_the_plain_one(
    problem: str, monkeypatch: pytest.MonkeyPatch, fresh_answer: None
) -> None:
    """It is private to torch: gone, refused or changed in a release, the path computes all the same."""
    raised = {"missing": AttributeError("gone"), "refused": RuntimeError("no such layout")}

    def product(rows: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if problem in raised:
            raise raised[problem]
        return torch.zeros(3, 4)

    monkeypatch.setattr(linear, "_product", product)
    weight, rows = torch.ones(4, 6), torch.ones(3, 6)
    assert torch.equal(Linear(weight, pack=True)(rows), torch.full((3, 4), 6.0))


def test_a_large_model_is_not_stored_twice() -> None:
    small, large = torch.empty(2**20, device="meta"), torch.empty(2**30, device="meta")
    assert fits_twice([small, small])
    assert not fits_twice([small, large])


def test_a_weight_that_is_not_packed_is_the_given_one() -> None:
    """Storage that the checkpoint loaded is shared, not copied."""
    weight = torch.ones(4, 6)
    product = Linear(weight, pack=False)
    weight[0, 0] = 7.0
    assert product(torch.ones(1, 6))[0, 0] == 12.0
