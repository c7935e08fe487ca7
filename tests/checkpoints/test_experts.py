"""Teachers with experts: sizes, keys of config.json, and which tensors are asked for."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.expert_pairs import expert_pair
from tracing.errors import CheckpointError
from workbench.checkpoints.checks import teacher_parameters
from workbench.checkpoints.shapes import teacher_shapes
from workbench.checkpoints.teacher import teacher_config
from workbench.fused.experts import place_experts
from workbench.fused.teacher_config import build_config, build_empty_model

PRO: dict[str, Any] = {
    "architectures": ["PanguProMoEForCausalLM"], "hidden_size": 5120, "num_hidden_layers": 48,
    "num_attention_heads": 40, "num_key_value_heads": 8, "num_experts": 64, "num_experts_per_tok": 8,
    "moe_intermediate_size": 1344, "shared_expert_intermediate_size": 5376, "vocab_size": 153376,
    "max_position_embeddings": 131072, "rope_theta": 1.6e7, "rms_norm_eps": 1e-5,
    "router_aux_loss_coef": 0.001, "tie_word_embeddings": False, "hidden_act": "silu",
}  # fmt: skip
PARAMETERS = 71_988_781_056


def test_the_published_size() -> None:
    config = teacher_config(PRO)
    assert (config.qkv_bias, config.o_bias, config.mlp_bias) == (True, True, False)
    shapes = teacher_shapes(config)
    assert sum(map(math.prod, shapes.values())) == PARAMETERS
    model = build_empty_model(build_config(config), "eager", torch.bfloat16)
    assert config.experts is not None
    place_experts(model, config.experts, torch.bfloat16)
    assert {name: tuple(each.shape) for name, each in model.state_dict().items()} == shapes
    assert all(each.is_meta for each in model.parameters())


def test_the_count_of_the_load_report_has_a_formula_of_its_own() -> None:
    pair = expert_pair()
    assert teacher_parameters(pair.teacher, pair.teacher_weights).status == "ok"
    fewer = {name: each for name, each in pair.teacher_weights.items() if "experts.3." not in name}
    assert teacher_parameters(pair.teacher, fewer).status != "ok"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"num_experts": 60}, "num_experts 60 is not a multiple of num_experts_per_tok 8"),
        ({"num_experts": None}, "num_experts"),
        ({"moe_intermediate_size": 0}, "moe_intermediate_size"),
        ({"norm_topk_prob": True}, "norm_topk_prob"),
        ({"scoring_func": "sigmoid"}, "scoring_func"),
        ({"first_k_dense_replace": 3}, "first_k_dense_replace"),
        ({"routed_scaling_factor": 2.5}, "routed_scaling_factor"),
    ],
)
def test_what_would_be_computed_otherwise_is_refused(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(CheckpointError, match=named):
        teacher_config({**PRO, **changed})


def test_a_dense_teacher_has_no_experts() -> None:
    dense = {**PRO, "architectures": [], "model_type": "llama", "intermediate_size": 64}
    assert teacher_config(dense).experts is None
