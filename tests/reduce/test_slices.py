"""A pair of which parts are left out computes what the whole one computes with these parts silenced."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from reference import teacher
from reference.model import ReferenceModels
from tracing.models import ModelPair
from workbench.faults.bench import tiny_bench
from workbench.faults.experiment import run_free
from workbench.faults.placement import Placement
from workbench.faults.tiny import HEAD_DIM, tiny_pair
from workbench.reduce.case import ModelCut, NetworkCut
from workbench.reduce.slices import cut_pair

PROMPT = [7, 19, 3, 50, 21]


def rows(pair: ModelPair, prompt: list[int] = PROMPT) -> Any:
    return teacher.prefill(ReferenceModels(pair, "float64"), prompt)


def silenced(pair: ModelPair, **changed: Any) -> ModelPair:
    return replace(pair, teacher_weights={**pair.teacher_weights, **changed})


def test_nothing_left_out_is_the_same_pair() -> None:
    pair = tiny_pair()
    assert cut_pair(pair, ModelCut()) is pair


def test_heads_left_out_are_heads_that_add_nothing() -> None:
    pair = tiny_pair()
    cut = cut_pair(pair, ModelCut(teacher=NetworkCut(kv_heads=(1,), group=1)))
    assert (cut.teacher.num_heads, cut.teacher.num_kv_heads) == (1, 1)
    quiet = {}
    for layer in range(2):
        name = f"model.layers.{layer}.self_attn.o_proj.weight"
        quiet[name] = pair.teacher_weights[name].clone()
        kept = torch.arange(2 * HEAD_DIM, 3 * HEAD_DIM)  # the first query head of the second group
        others = torch.ones(quiet[name].shape[1], dtype=torch.bool)
        others[kept] = False
        quiet[name][:, others] = 0
    torch.testing.assert_close(rows(cut).logits, rows(silenced(pair, **quiet)).logits)


def test_a_layer_left_out_is_a_layer_that_adds_nothing() -> None:
    pair = tiny_pair(layers=3, aux_layers=(0, 2, 3))
    cut = cut_pair(pair, ModelCut(teacher=NetworkCut(layers=(0, 2))))
    assert cut.drafter.aux_layers == (0, 1, 2)
    quiet = {
        name: torch.zeros_like(tensor)
        for name, tensor in pair.teacher_weights.items()
        if name.startswith("model.layers.1.") and ("o_proj" in name or "down_proj" in name)
    }
    assert quiet
    whole = rows(silenced(pair, **quiet))
    torch.testing.assert_close(rows(cut).logits, whole.logits)
    torch.testing.assert_close(rows(cut).features, whole.features)


def test_width_left_out_is_width_that_adds_nothing() -> None:
    pair = tiny_pair()
    cut = cut_pair(pair, ModelCut(teacher=NetworkCut(width=16)))
    quiet = {}
    for layer in range(2):
        name = f"model.layers.{layer}.mlp.down_proj.weight"
        quiet[name] = pair.teacher_weights[name].clone()
        quiet[name][:, 16:] = 0
    torch.testing.assert_close(rows(cut).logits, rows(silenced(pair, **quiet)).logits)


def test_words_left_out_leave_the_other_scores_as_they_are() -> None:
    pair = replace(tiny_pair(), eos_token_ids=frozenset({19, 60}))
    assert pair.target_from_draft is not None
    kept = tuple(sorted({*PROMPT, *pair.target_from_draft.tolist()[:9]}))
    cut = cut_pair(pair, ModelCut(vocab=kept))
    renumbered = [kept.index(token) for token in PROMPT]
    torch.testing.assert_close(rows(cut, renumbered).logits, rows(pair).logits[..., list(kept)])
    drafted = [int(token) for token in pair.target_from_draft if int(token) in kept]
    assert [kept[int(place)] for place in cut.target_from_draft] == drafted
    head = pair.drafter_weights["lm_head.weight"]
    places = [pair.target_from_draft.tolist().index(token) for token in drafted]
    assert torch.equal(cut.drafter_weights["lm_head.weight"], head[places])
    assert cut.eos_token_ids == frozenset({kept.index(19)})


def test_a_vocabulary_without_a_drafted_word_is_refused() -> None:
    pair = tiny_pair()
    assert pair.target_from_draft is not None
    others = tuple(sorted(set(range(64)) - set(pair.target_from_draft.tolist())))
    with pytest.raises(ValueError, match="no word of the drafter"):
        cut_pair(pair, ModelCut(vocab=others))


@pytest.mark.parametrize("need", ["plain", "medusa", "draft_model", "lookup"])
def test_every_tensor_has_the_shape_that_its_configuration_asks_for(need: str) -> None:
    """All at once, and again with random weights: the drafter of each kind still runs."""
    pair = tiny_bench().setup(need).pair
    own = NetworkCut(layers=(1,), kv_heads=(0,), group=1, width=16)
    cut = ModelCut(teacher=own, drafter=own, hidden=16, vocab=tuple(range(0, 64, 2)), seed=3)
    made = cut_pair(pair, cut)
    assert rows(made, [1, 2, 3]).logits.shape[-1] == 32
    setup = replace(tiny_bench().setup(need), pair=made, prompt=(1, 2, 3, 1, 2))
    decoded = run_free(
        replace(setup, settings=replace(setup.settings, top_k=2, max_new_tokens=4)), Placement()
    )
    assert (decoded.error, len(decoded.emitted)) == ("", 4)
    again = cut_pair(pair, cut)
    assert all(torch.equal(again.teacher_weights[name], each) for name, each in made.teacher_weights.items())
    real = cut_pair(pair, replace(cut, seed=None))
    assert {name: each.shape for name, each in real.teacher_weights.items()} == {
        name: each.shape for name, each in made.teacher_weights.items()
    }
    assert not torch.equal(real.teacher_weights["lm_head.weight"], made.teacher_weights["lm_head.weight"])
