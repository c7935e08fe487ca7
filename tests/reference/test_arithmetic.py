"""Ways to compute the same: every way is sound, and in a half precision the dithered one really differs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from reference.arithmetic import LARGE, Arithmetic, linear, spacing
from reference.model import ReferenceModels
from reference.rungs import CACHED
from reference.teacher import prefill
from tests.pairs import tiny_pair
from tracing.settings import DecodeSettings


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_dithered_value_is_one_of_its_two_neighbours_and_right_on_average(dtype: torch.dtype) -> None:
    exact = torch.linspace(0.01, 3, 4001)
    nearest = exact.to(dtype).float()
    drawn = torch.stack(
        [
            Arithmetic(seed, rounds_once=True, dithers=True).settled(exact, dtype).float()
            for seed in range(200)
        ]
    )
    # Just below a power of two the upper neighbour's grid is twice as coarse: one and a half spacings.
    assert ((drawn - exact).abs() <= spacing(exact, dtype) * 1.5).all()
    assert (drawn.mean(0) - exact).abs().mean() < 0.1 * spacing(exact, dtype).mean()
    assert (drawn != nearest).any()


def test_spacing_is_that_of_the_dtype() -> None:
    values = torch.tensor([1.0, 1.5, 2.0, 0.75, 0.0])
    eps = torch.finfo(torch.bfloat16).eps
    assert spacing(values, torch.bfloat16).tolist() == [eps, eps, 2 * eps, eps / 2, 0.0]


@pytest.mark.parametrize("arithmetic", [Arithmetic(3), Arithmetic(3, rounds_once=True, dithers=True)])
def test_float32_knows_only_the_order_of_sums(arithmetic: Arithmetic) -> None:
    """Nothing is rounded between operators: dithering changes no bit, and the order only the last ones."""
    models = ReferenceModels(tiny_pair(1))
    plain = prefill(models, [1, 2, 3]).logits
    other = prefill(models.computing(arithmetic), [1, 2, 3]).logits
    torch.testing.assert_close(other, plain, rtol=1e-4, atol=1e-5)


def test_in_bfloat16_the_order_of_sums_says_little_and_dithering_much() -> None:
    """Why samples dither: permuted sums round to nearly the same bits and hide what rounding costs."""
    pair = tiny_pair(1, hidden=64, layers=4)
    models = ReferenceModels(pair, "bfloat16")
    truth = prefill(ReferenceModels(pair, "float32", rounded_to="bfloat16"), [1, 2, 3]).features

    def error(arithmetic: Arithmetic) -> float:
        features = prefill(models.computing(arithmetic), [1, 2, 3]).features.float()
        return float((features - truth).abs().max())

    dithered = [error(Arithmetic(seed, rounds_once=True, dithers=True)) for seed in range(1, 9)]
    assert len(set(dithered)) > 2
    assert max(dithered) > error(Arithmetic(rounds_once=True))


@pytest.mark.parametrize("dithers", [False, True])
def test_weights_widened_once_give_the_same_bits(dithers: bool) -> None:
    pair = tiny_pair(1, "qwen3", qkv_bias=True, drafter_qk_norm=True, dtype=torch.bfloat16)
    own, wide = ReferenceModels(pair, "bfloat16"), ReferenceModels(pair, "float32", rounded_to="bfloat16")
    way = Arithmetic(seed=1, rounds_once=True, dithers=dithers)
    one, other = own.computing(way), own.computing(way, wide)
    rows = [CACHED.prefill(models, [1, 2, 3, 4]) for models in (one, other)]
    for name in ("logits", "features", "kv"):
        assert torch.equal(getattr(rows[0], name), getattr(rows[1], name))
    settings = DecodeSettings(tree_nodes=6, depth=2, top_k=2)
    drafts = [CACHED.draft(models, [1, 2, 3, 4], 5, rows[0].features, settings) for models in (one, other)]
    assert drafts[0].logprobs.tolist() == drafts[1].logprobs.tolist()


@pytest.mark.parametrize("shape", [(60, 384), (1, 384), (2, 5, 384)])
def test_a_large_float32_product_is_as_exact_as_a_small_one(shape: tuple[int, ...]) -> None:
    """Which library multiplies is decided by size alone; both are within float32's rounding."""
    random = torch.Generator().manual_seed(2)
    x, weight = torch.randn(*shape, generator=random), torch.randn(200, 384, generator=random)
    assert weight.numel() >= LARGE
    product = linear(x, {"a.weight": weight}, "a", Arithmetic())
    exact = x.double() @ weight.double().T
    assert product.shape == exact.shape
    assert float((product.double() - exact).abs().max()) < 384 * 2.0**-24 * float(exact.abs().max())


def test_what_a_pair_gives_under_two_names_is_converted_once() -> None:
    """A tied head and a drafter without an embedding of its own would cost a large teacher gigabytes."""
    pair = tiny_pair(3, head_dim=16)
    tied = pair.teacher_weights["model.embed_tokens.weight"]
    teacher = {**pair.teacher_weights, "lm_head.weight": tied}
    drafter = {**pair.drafter_weights, "embed_tokens.weight": tied}
    models = ReferenceModels(replace(pair, teacher_weights=teacher, drafter_weights=drafter), "float64")
    made = models.teacher_weights["model.embed_tokens.weight"]
    assert models.teacher_weights["lm_head.weight"] is made
    assert models.drafter_weights["embed_tokens.weight"] is made
    assert torch.equal(made, tied.double())
    assert made.data_ptr() != tied.data_ptr()
