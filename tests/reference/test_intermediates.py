"""Named intermediate tensors: the reference's graph is its forward, and our path gives what the list says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from reference import teacher
from reference.drafters import eagle3_network
from reference.intermediates import drafter_graph, evaluate, teacher_graph
from reference.model import ReferenceModels
from reference.visible import causal
from tracing.errors import UsageError
from tracing.intermediates import place_of
from tracing.module_hooks import hooked
from tracing.settings import DecodeSettings
from tracing.stages import NullWatch
from workbench.faults.tiny import tiny_pair
from workbench.fused.path import make_path

PROMPT = [3, 1, 4, 1, 5]
SETTINGS = DecodeSettings(tree_nodes=6, top_k=2, depth=2, max_new_tokens=4)


def _inputs(network: str, pair: Any, config: Any, num_layers: int, site: str) -> dict[str, torch.Tensor]:
    rows = len(PROMPT)
    past = torch.zeros(0, config.num_kv_heads, config.head_dim)
    given = {
        f"{network}.token_ids": torch.tensor(PROMPT),
        f"{network}.position_ids": torch.arange(rows),
        f"{network}.visible": causal(rows, None, torch.device("cpu")),
        f"{network}.past_positions": torch.arange(0),
    }
    for layer in range(num_layers):
        for side in ("past_keys", "past_values"):
            given[f"{network}.{site.format(layer)}.{side}"] = past
    return given


def test_the_teachers_graph_is_its_forward() -> None:
    models = ReferenceModels(tiny_pair())
    given = _inputs("teacher", models.pair, models.teacher, models.teacher.num_layers, "layers.{}")
    made = evaluate(models, teacher_graph(models), given)
    whole = teacher.forward(
        models, given["teacher.token_ids"], given["teacher.position_ids"], given["teacher.visible"]
    )
    assert torch.equal(made["teacher.logits"], whole.logits)
    assert torch.equal(made["teacher.features"], whole.features)
    for layer in range(models.teacher.num_layers):
        assert torch.equal(made[f"teacher.layers.{layer}.key"].transpose(0, 1), whole.kv[layer, 0])
        assert torch.equal(made[f"teacher.layers.{layer}.value"].transpose(0, 1), whole.kv[layer, 1])


def test_the_drafters_graph_is_its_forward() -> None:
    models = ReferenceModels(tiny_pair())
    features = torch.randn(len(PROMPT), models.pair.feature_width, generator=torch.Generator().manual_seed(3))
    given = _inputs("drafter", models.pair, models.drafter, 1, "midlayer")
    made = evaluate(models, drafter_graph(models), given | {"drafter.features": features})
    whole = eagle3_network.forward(
        models,
        given["drafter.token_ids"],
        eagle3_network.fuse_features(models, features),
        given["drafter.position_ids"],
        given["drafter.visible"],
    )
    assert torch.equal(made["drafter.hidden_out"], whole.hidden)
    assert torch.equal(made["drafter.logits"].log_softmax(-1), whole.logprobs)
    assert torch.equal(made["drafter.midlayer.key"].transpose(0, 1), whole.kv[0, 0])


def test_an_operator_stands_alone_on_given_inputs() -> None:
    """A given tensor is computed with, and what the node itself would make is told all the same."""
    models = ReferenceModels(tiny_pair())
    given = _inputs("teacher", models.pair, models.teacher, models.teacher.num_layers, "layers.{}")
    sound = evaluate(models, teacher_graph(models), given)
    name = "teacher.layers.0.activated"
    made = evaluate(models, teacher_graph(models), given | {name: 2 * sound[name]})
    assert torch.equal(made[name], sound[name])
    assert not torch.allclose(made["teacher.layers.0.mlp_output"], sound["teacher.layers.0.mlp_output"])
    assert torch.equal(made["teacher.layers.0.up"], sound["teacher.layers.0.up"])


@pytest.mark.parametrize("kv_layout", ["contiguous", "paged"])
def test_our_path_gives_every_tensor_of_its_networks(kv_layout: Any) -> None:
    pair, settings = tiny_pair(), replace(SETTINGS, kv_layout=kv_layout, block_size=16)
    path = make_path(pair, settings, device="cpu", dtype="float32")
    state = path.begin(NullWatch())
    given: dict[str, torch.Tensor] = {}
    assert path.intermediates is not None
    assert path.stages.prefill is not None
    assert path.stages.draft is not None
    assert path.snapshot is not None
    with path.intermediates(state, lambda name, tensor: given.setdefault(name, tensor.detach().clone())):
        path.stages.prefill(state, PROMPT)
        copied = path.snapshot(state)
        path.stages.draft(state)
        seen = len(given)
        path.stages.draft(copied)
        assert len(given) == seen
    models = ReferenceModels(pair)
    made = evaluate(
        models,
        teacher_graph(models),
        _inputs("teacher", pair, pair.teacher, pair.teacher.num_layers, "layers.{}"),
    )
    masks = {f"teacher.layers.{layer}.visible" for layer in range(pair.teacher.num_layers)}
    assert set(made) - masks <= set(given)  # a prefill has no mask of its own
    assert {name for name in drafter_graph(models) if not name.endswith("visible")} <= set(given)
    for name, tensor in made.items():
        place_of(name)
        if name not in masks:
            rows = given[name].reshape(-1, tensor[0].numel())
            own = tensor.reshape(-1, tensor[0].numel())[-len(rows) :]
            torch.testing.assert_close(rows, own, rtol=0, atol=2e-4, msg=name)
    given.clear()
    path.stages.prefill(state, PROMPT)
    assert not given


def test_hooks_give_the_tensors_of_modules() -> None:
    from tests.fused.support import plain_teacher, small_pair

    pair = small_pair(2)
    model, given = plain_teacher(pair), {}
    with hooked(model, lambda name, tensor: given.setdefault(name, tensor.detach().numpy().copy())):
        model(torch.tensor([PROMPT]))
    models = ReferenceModels(pair)
    graph = teacher_graph(models)
    made = evaluate(models, graph, _inputs("teacher", pair, pair.teacher, 2, "layers.{}"))
    assert {"teacher.layers.1.attention", "teacher.layers.1.activated", "teacher.logits"} <= set(given)
    for name, rows in given.items():
        own = made[name].reshape(len(PROMPT), -1).numpy()
        np.testing.assert_allclose(rows.reshape(len(PROMPT), -1), own, atol=1e-5, err_msg=name)
    num_given = len(given)
    given.clear()
    model(torch.tensor([PROMPT]))
    assert num_given
    assert not given


@pytest.mark.parametrize("name", ["teacher.layers.0.nothing", "layers.0.key", "teacher.layers.01.key", "", 3])
def test_a_name_in_no_list_is_refused(name: Any) -> None:
    with pytest.raises(UsageError, match=r"tracing\.intermediates lists"):
        place_of(name)


def test_a_place_knows_its_layer() -> None:
    assert place_of("drafter.midlayer.query").layer == 0
    assert place_of("teacher.layers.12.query").layer == 12
    assert place_of("drafter.heads.1.logits").tensor.operator == "linear"
    assert place_of("teacher.logits").layer is None
