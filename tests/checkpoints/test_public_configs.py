"""The public configurations of EAGLE-3 drafters load, or say precisely why not.

`public/eagle3_configs.json` holds the keys and values of configurations that trainers publish, each with the
name of its trainer and file. Their weights are as large as they say, and take no memory here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
import torch

from tracing.errors import CheckpointError
from tracing.models import RopeConfig, TeacherConfig
from workbench.checkpoints import checks
from workbench.checkpoints.eagle3 import LoadedDrafter, load_drafter
from workbench.checkpoints.rope import uses_sections

FILE: Final = Path(__file__).parent / "public" / "eagle3_configs.json"
CONFIGS: Final[dict[str, dict[str, Any]]] = json.loads(FILE.read_text(encoding="utf-8"))
DEPTHS: Final = {"deepseek-v3": 61, "120B": 36, "20B": 24, "qwen3-235B": 94}
REFUSED: Final = {
    "AngelSlim/hunyuan-1.8b-eagle3": "rotary parameters have alpha 1000.0",
    "SpecForge/qwen3-8b-peagle": "architectures names 'PEagleDraftModel'",
    "TorchSpec/kimi_k25_eagle3_mla": "architectures names 'Eagle3DeepseekV2ForCausalLM'",
    "TorchSpec/qwen3_8b_eagle3_mla": "architectures names 'Eagle3DeepseekV2ForCausalLM'",
    "EAGLE/config": "",
}
DOUBTS: Final = {
    "AngelSlim/cosyvoice3-llm-eagle3": ("num_hidden_layers is 24, the file holds one layer",),
}


def teacher_of(name: str, config: dict[str, Any]) -> TeacherConfig:
    depth = next((layers for part, layers in DEPTHS.items() if part in name), 36)
    return TeacherConfig(
        "llama", config["vocab_size"], config["hidden_size"], 64, depth, 4, 4, 16, 1e-6, RopeConfig(1e4), 4096
    )


def weights_of(config: dict[str, Any], layer: str = "midlayer.") -> dict[str, torch.Tensor]:
    """Return tensors of the sizes that a trainer of this configuration would save."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"]
    kv_heads, width = config.get("num_key_value_heads", heads), config.get("head_dim") or hidden // heads
    draft = config.get("draft_vocab_size") or config["vocab_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "fc": (hidden, 3 * hidden), "norm": (hidden,), "lm_head": (draft, hidden),
        **{f"{layer}{name}": (hidden,) for name in ("hidden_norm", "input_layernorm")},
        f"{layer}post_attention_layernorm": (hidden,),
        f"{layer}self_attn.q_proj": (heads * width, 2 * hidden),
        f"{layer}self_attn.o_proj": (hidden, heads * width),
        **{f"{layer}self_attn.{name}_proj": (kv_heads * width, 2 * hidden) for name in "kv"},
        f"{layer}mlp.gate_proj": (inner, hidden), f"{layer}mlp.up_proj": (inner, hidden),
        f"{layer}mlp.down_proj": (hidden, inner),
    }  # fmt: skip
    if config.get("fc_norm"):
        shapes |= {f"fc_norm.{tap}": (hidden,) for tap in range(3)}
    tensors = {f"{name}.weight": torch.empty(shape, device="meta") for name, shape in shapes.items()}
    return tensors | {"d2t": torch.zeros(draft, dtype=torch.int64)}


def loaded(name: str, layer: str = "midlayer.") -> LoadedDrafter:
    config = CONFIGS[name]
    teacher = teacher_of(name, config)
    embedding = torch.empty(teacher.vocab_size, teacher.hidden_size, device="meta")
    return load_drafter(config, weights_of(config, layer), teacher, embedding)


@pytest.mark.parametrize("layer", ["midlayer.", "layers.0.", "model.layers.0."])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_public_configuration_loads_or_says_why_not(name: str, layer: str) -> None:
    sentence = REFUSED.get(name)
    if sentence:
        with pytest.raises(CheckpointError, match=sentence):
            loaded(name, layer)
        return
    drafter, config = loaded(name, layer), CONFIGS[name]
    assert drafter.unknown_keys == ()
    assert drafter.config.hidden_size == config["hidden_size"]
    assert drafter.config.rms_norm_eps == config["rms_norm_eps"]
    assert drafter.config.rope.kind in {"default", "yarn", "llama3"}
    assert drafter.doubts == DOUBTS.get(name, ())
    assert uses_sections(config) == ("mrope_section" in json.dumps(config.get("rope_scaling")))
    guessed = "eagle_config" not in config
    assert ("a guess" in drafter.aux.doubt) == guessed
    aux = checks.aux_layers(drafter.config, drafter.aux, 36)
    assert guessed <= (aux.status == "warning")


def test_most_of_them_load() -> None:
    assert len(CONFIGS) - len([name for name, why in REFUSED.items() if why]) >= 53


def test_ids_of_deep_teachers_are_outputs_of_layers() -> None:
    assert loaded("SpecForge/deepseek-v3-671b-eagle3").aux.entering == (2, 30, 58)
    assert loaded("SpecForge/qwen3-235B-A22B-eagle3").aux.entering == (2, 47, 91)
    assert "readers differ" in loaded("SpecForge/gpt-oss-20B-eagle3").aux.doubt


def test_the_page_of_keys_is_written_from_the_table() -> None:
    """Stale when a key is added: run `make pages`."""
    from pages.checkpoint_keys import page

    written = Path(__file__).parents[2] / "docs" / "checkpoint-keys.md"
    assert written.read_text(encoding="utf-8") == page()
