"""A port over a framework's model, of which nothing is known but the hooks on its modules."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from examples.cache_port import factory
from tests.locate.subjects import looked_into, setup_of, subject_of
from workbench.locate.located import Located

MODULES = {
    "input_layernorm": "input_norm",
    "self_attn.q_proj": "query_proj",
    "self_attn.k_proj": "key_proj",
    "self_attn.v_proj": "value",
    "self_attn.o_proj": "attention_output",
    "post_attention_layernorm": "mlp_norm",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.down_proj": "mlp_output",
    "mlp.act_fn": "activated",
}


def _located(stage: str, change: Any) -> Located:
    setup = setup_of()
    path = factory(setup.pair, setup.settings, device="cpu", dtype="float32")
    model = path.stages.prefill.__self__.model  # type: ignore[union-attr]  # a bound method of the port
    change(model)
    return looked_into(subject_of(setup, path=path), stage)


@pytest.mark.parametrize("seed", range(8))
def test_a_fault_hidden_by_a_seed_is_found(seed: int) -> None:
    chance = random.Random(seed)
    module, tensor = chance.choice(list(MODULES.items()))
    layer, row, stage = chance.randrange(2), chance.randrange(5), chance.choice(["prefill", "verify"])

    num_rows = {"prefill": 5, "verify": 12}[stage]

    def wrong(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        if output.shape[1] != num_rows:
            return output
        output = output.clone()
        output[:, row] *= 1.3
        return output

    def hide(model: Any) -> None:
        model.model.layers[layer].get_submodule(module).register_forward_hook(wrong)

    located = _located(stage, hide)
    (culprit,) = located.culprits
    assert culprit.name == f"teacher.layers.{layer}.{tensor}"
    assert culprit.extent.rows == (row,)


def test_what_hooks_do_not_see_is_named_with_what_they_do() -> None:
    def hide(model: Any) -> None:
        model.model.layers[1].self_attn.scaling = 1.0

    (culprit,) = _located("prefill", hide).culprits
    assert culprit.name == "teacher.layers.1.attention"
    assert "teacher.layers.1.query" in culprit.between


def test_the_port_itself_is_right() -> None:
    for stage in ("prefill", "verify"):
        located = _located(stage, lambda _: None)
        assert located.culprits == ()
        assert located.num_judged > 20
