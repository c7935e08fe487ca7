"""Products by storage: the same numbers, and never a wrong one for the sake of speed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.fused.support import fused_path, small_pair
from tracing.errors import UsageError
from tracing.stages import NullWatch
from workbench.fused import linear, packed
from workbench.fused.linear import Products
from workbench.fused.packed import exact_shift

ANSWERS: Any = (packed.multiplies_half, packed.multiplies_blocked)


@pytest.fixture
def fresh_answers() -> Iterator[None]:
    """What this machine can multiply is found out once a process; a test that changes it clears that."""
    for each in (*ANSWERS, None, *ANSWERS):
        if each is None:
            yield
        else:
            each.cache_clear()


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stored_as(name: str, weight: torch.Tensor) -> torch.Tensor:
    """Return a weight that can be held in this way and no better one."""
    changes: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "half": lambda exact: exact.half().to(weight.dtype),
        "shifted": lambda exact: (exact.bfloat16() * 2.0**-20).to(weight.dtype),
        "blocked": lambda exact: exact / 3,
        "plain": lambda exact: exact,
    }
    return changes[name](weight)


@pytest.mark.parametrize("num_rows", [1, 7, 64])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(
    ("dtype", "storage", "columns"),
    [
        (torch.float32, "half", 96),
        (torch.float32, "half", 4500),
        (torch.float32, "shifted", 96),
        (torch.float32, "shifted", 4500),
        (torch.float32, "blocked", 96),
        (torch.bfloat16, "blocked", 96),
        (torch.float16, "plain", 96),
    ],
)
def test_a_stored_weight_gives_the_plain_product(
    dtype: torch.dtype, storage: str, columns: int, num_rows: int, *, with_bias: bool
) -> None:
    """Against float64: products of size 1 in another order are off by some ulp of the result, not more."""
    if storage in {"half", "shifted"} and not packed.multiplies_half():
        pytest.skip("this build of torch has no product with 16-bit weights")
    weight = stored_as(storage, normal(40, columns).to(dtype))
    bias = normal(40, seed=1).to(dtype) * weight.abs().max() if with_bias else None
    rows = normal(1, num_rows, columns, seed=2).to(dtype)
    exact = rows.double() @ weight.double().t() + (0 if bias is None else bias.double())
    product = Products().of(weight, bias)
    ours = product(rows)
    assert product.storage == storage.replace("shifted", "half")
    assert (ours.dtype, ours.shape) == (dtype, exact.shape)
    allowed = 16 * torch.finfo(dtype).eps * exact.abs().max()
    assert (ours.double() - exact).abs().max() <= allowed


@pytest.mark.parametrize(
    ("numbers", "shift"),
    [
        ([1.0, 0.5, -3.0], 0),
        ([65504.0, 2.0**-24], 0),
        ([0.0, -0.0], 0),
        ([2.0**-30, 3 * 2.0**-40], 45),
        ([2.0**20, 2.0**-10], -5),
        ([1.0 + 2.0**-11], None),
        ([2.0**20, 2.0**-20], None),
        ([float("inf"), 1.0 + 2.0**-11], None),
        ([float("nan"), 1.0], None),
    ],
)
def test_the_power_of_two_is_that_at_which_nothing_is_lost(numbers: list[float], shift: int | None) -> None:
    assert exact_shift(torch.tensor([numbers])) == shift


def test_a_row_of_half_storage_does_not_depend_on_its_neighbours() -> None:
    product, rows = Products().of(stored_as("half", normal(64, 512))), normal(60, 512, seed=3)
    together = product(rows)
    assert all(torch.equal(product(rows[:count]), together[:count]) for count in (1, 2, 12))


def test_joined_products_stand_behind_each_other() -> None:
    parts = [torch.nn.Linear(8, size) for size in (4, 2, 6)]
    rows = normal(3, 8)
    with torch.no_grad():
        expected = torch.cat([part(rows) for part in parts], dim=-1)
        torch.testing.assert_close(Products().joined(parts)(rows), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("problem", ["missing", "refused", "wrong"])
@pytest.mark.parametrize(("gone", "storage"), [(("half",), "blocked"), (("half", "blocked"), "plain")])
def test_a_torch_without_a_storage_uses_the_next(
    problem: str, gone: tuple[str, ...], storage: str, monkeypatch: pytest.MonkeyPatch, fresh_answers: None
) -> None:
    """Builds differ, one is private to torch: gone, refused or changed, the path computes all the same."""
    raised = {"missing": AttributeError("gone"), "refused": RuntimeError("no such engine")}

    def store(*_: Any) -> packed.Product:
        if problem in raised:
            raise raised[problem]
        return lambda rows: torch.zeros(3, 4)

    for name in gone:
        monkeypatch.setattr(packed, f"_{name}", store)
    weight, rows = torch.ones(4, 6), torch.ones(3, 6)
    product = Products().of(weight)
    assert product.storage == storage
    assert torch.equal(product(rows), torch.full((3, 4), 6.0))


def test_a_large_model_is_not_stored_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_MOST_BLOCKED_BYTES", 100)
    products = Products()
    assert [products.of(normal(4, 6, seed=seed)).storage for seed in (0, 1)] == ["blocked", "plain"]
    assert products.stored() == {"blocked": 1, "plain": 1}


def test_a_plain_product_has_the_weight_itself() -> None:
    """Storage that the checkpoint loaded is shared, not copied."""
    weight = torch.ones(4, 6)
    product = Products(plain=True).of(weight)
    weight[0, 0] = 7.0
    assert product(torch.ones(1, 6))[0, 0] == 12.0


def test_a_run_says_how_its_products_are_stored() -> None:
    pair = small_pair(5)
    exact = {name: tensor.half().float() for name, tensor in pair.teacher_weights.items()}
    paths = (
        fused_path(pair),
        fused_path(replace(pair, teacher_weights=exact)),
        fused_path(pair, eager={"linear"}),
    )
    by_engine = [dict(path.info["products"]) for path in paths]
    assert {name for each in by_engine for name in each} == {"blocked", "half", "plain"}
    assert len({sum(each.values()) for each in by_engine}) == 1
    assert set(by_engine[2]) == {"plain"}


@pytest.mark.parametrize("part", ["teacher", "drafter"])
def test_weights_that_are_changed_after_the_path_was_built_are_refused(part: str) -> None:
    pair = small_pair(5)
    path = fused_path(pair)
    path.begin(NullWatch())
    next(iter(getattr(pair, f"{part}_weights").values())).mul_(2)
    with pytest.raises(UsageError, match=f"{part} .* was written to since; build the path again"):
        path.begin(NullWatch())
