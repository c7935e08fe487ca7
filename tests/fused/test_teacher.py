"""The teacher is built from a checkpoint's own config.json where there is one."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.fused.support import decode, fused_path, small_pair
from tracing.models import RopeConfig, TeacherConfig
from workbench.fused.rotary import Rotary
from workbench.fused.teacher_config import build_config, build_empty_model
from workbench.fused.teacher_weights import empty_teacher

PANGU_7B: dict[str, Any] = {
    "architectures": ["PanguEmbeddedForCausalLM"],
    "auto_map": {"AutoConfig": "configuration_openpangu_dense.PanguEmbeddedConfig"},
    "bias": True,
    "bos_token_id": 1,
    "eos_token_id": 45892,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 12800,
    "max_position_embeddings": 32768,
    "model_type": "PanguEmbedded",
    "num_attention_heads": 32,
    "num_hidden_layers": 34,
    "num_key_value_heads": 8,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-05,
    "rope_theta": 16000000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 153376,
}


def teacher_of(config: dict[str, Any], rope: RopeConfig) -> TeacherConfig:
    return TeacherConfig(
        model_type=config["model_type"],
        vocab_size=config["vocab_size"],
        hidden_size=config["hidden_size"],
        intermediate_size=config["intermediate_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        num_kv_heads=config["num_key_value_heads"],
        head_dim=config["hidden_size"] // config["num_attention_heads"],
        rms_norm_eps=config["rms_norm_eps"],
        rope=rope,
        max_position_embeddings=config["max_position_embeddings"],
        qkv_bias=True,
        o_bias=True,
        hf_config=config,
    )


def test_open_pangu_7b_has_its_published_number_of_parameters() -> None:
    """A missing o bias would be 139,264 parameters less, an MLP bias 1,009,664 more."""
    config = build_config(teacher_of(PANGU_7B, RopeConfig(theta=1.6e7)))
    model = build_empty_model(config, "eager", torch.bfloat16)
    assert sum(parameter.numel() for parameter in model.parameters()) == 8_030_887_936
    assert config.rope_parameters["rope_theta"] == 1.6e7


@pytest.mark.parametrize(
    "keys",
    [
        {"rope_theta": 500000.0},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
        {"rope_theta": 500000.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
    ],
    ids=["old", "new", "old with scaling"],
)
def test_rope_comes_from_the_checkpoints_own_keys(keys: dict[str, Any]) -> None:
    """Old and new spellings of config.json give the table of our normalised configuration."""
    kind = "linear" if "rope_scaling" in keys else "default"
    factor = {"factor": 2.0} if kind == "linear" else {}
    pair = small_pair(5, rope=RopeConfig(theta=500000.0, kind=kind, parameters=factor))
    raw = {"model_type": "llama", "pad_token_id": 63, "attention_bias": False, "use_cache": True, **keys}
    named = replace(pair, teacher=replace(pair.teacher, hf_config=raw))
    ours, theirs = (decode(fused_path(each), [3, 1, 4, 1, 5], 12) for each in (pair, named))
    assert torch.equal(ours.prefilled.logits, theirs.prefilled.logits)
    assert ours.emitted == theirs.emitted


def test_a_half_precision_checkpoint_computes_in_float32() -> None:
    """Weights stored in bfloat16 are widened, and the stored ones are left as they are."""
    pair = small_pair(5, dtype=torch.bfloat16)
    run = decode(fused_path(pair), [3, 1, 4, 1, 5], 8)
    assert run.prefilled.logits.dtype is torch.float32
    assert all(tensor.dtype is torch.bfloat16 for tensor in pair.teacher_weights.values())


def test_features_are_the_residual_stream_that_enters_the_tapped_layers() -> None:
    """A tap one layer late, or after the norm, is the classic silent loss of acceptance."""
    from tests.fused.support import plain_teacher

    pair, prompt = small_pair(5, layers=4, aux_layers=(1, 2, 4)), [3, 1, 4, 1, 5]
    seen: dict[int, torch.Tensor] = {}
    model: Any = plain_teacher(pair)
    for place, module in enumerate([*model.model.layers, model.model.norm]):
        module.register_forward_pre_hook(lambda _, given, place=place: seen.__setitem__(place, given[0]))
    with torch.no_grad():
        model(torch.tensor([prompt]))
    expected = torch.cat([seen[layer][0] for layer in (1, 2, 4)], dim=-1)
    features = decode(fused_path(pair), prompt, 1).prefilled.features
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("model_type", ["llama", "qwen2", "qwen3", "mistral", "PanguEmbedded"])
def test_weights_have_the_places_of_the_librarys_model(model_type: str) -> None:
    teacher = small_pair(5, model_type).teacher
    library = build_empty_model(build_config(teacher), "eager", torch.bfloat16)
    expected = {name: (each.shape, each.dtype, each.is_meta) for name, each in library.state_dict().items()}
    made = empty_teacher(teacher, torch.bfloat16).state_dict()
    assert {name: (each.shape, each.dtype, each.is_meta) for name, each in made.items()} == expected


@pytest.mark.parametrize("theta", [10000.0, 16000000.0])
def test_plain_frequencies_are_the_librarys_to_the_bit(theta: float) -> None:
    teacher = replace(small_pair(5, head_dim=16).teacher, rope=RopeConfig(theta=theta))
    place = torch.device("cpu")
    library = Rotary.of(build_config(teacher), "default", place)
    assert torch.equal(Rotary.plain(theta, 16, place).inv_freq, library.inv_freq)


def test_a_teacher_is_built_without_the_librarys_models() -> None:
    """Importing them takes longer than a short run decodes."""
    code = (
        "import sys\n"
        "from tests.pairs import tiny_pair\n"
        "from tracing.settings import DecodeSettings\n"
        "from workbench.fused.path import make_path\n"
        "make_path(tiny_pair(5, head_dim=16), DecodeSettings(), device='cpu')\n"
        "sys.exit(bool({'transformers.modeling_utils', 'torch._dynamo', 'sympy'} & sys.modules.keys()))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
