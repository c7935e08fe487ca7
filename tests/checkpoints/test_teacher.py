"""A teacher on disk becomes the configuration and the tensors that transformers itself would use."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints import synthetic
from tracing.errors import CheckpointError, ModelMissingError
from workbench.checkpoints.load import load_teacher
from workbench.checkpoints.shapes import teacher_shapes
from workbench.checkpoints.teacher import teacher_config

PANGU_7B: dict[str, Any] = {
    "architectures": ["PanguEmbeddedForCausalLM"], "model_type": "PanguEmbedded", "bias": True,
    "hidden_size": 4096, "intermediate_size": 12800, "num_hidden_layers": 34, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 153376, "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-5, "rope_theta": 16000000.0, "tie_word_embeddings": False, "eos_token_id": 45892,
}  # fmt: skip
PANGU_1B = PANGU_7B | {
    "hidden_size": 1536, "intermediate_size": 6144, "num_hidden_layers": 26, "num_attention_heads": 12,
    "num_key_value_heads": 6, "rope_theta": 4000000.0, "tie_word_embeddings": True,
}  # fmt: skip


@pytest.mark.parametrize(("config", "expected"), [(PANGU_7B, 8_030_887_936), (PANGU_1B, 1_155_912_192)])
def test_openpangu_has_its_published_size(config: dict[str, Any], expected: int) -> None:
    """Catches a lost bias: 34 layers of them are 0.01 percent and show in no other way."""
    parsed = teacher_config(config)
    tied = parsed.tie_word_embeddings
    tensors = {name: torch.empty(shape, device="meta") for name, shape in teacher_shapes(parsed).items()}
    if tied:
        del tensors["lm_head.weight"]
    assert sum(tensor.numel() for tensor in tensors.values()) == expected


def test_openpangu_equals_the_llama_of_transformers_on_the_meta_device() -> None:
    """The alias that others use (Llama with attention_bias) must have the same tensors, name by name."""
    import transformers

    keys = {
        key: value for key, value in PANGU_7B.items() if key not in ("architectures", "model_type", "bias")
    }
    with torch.device("meta"):
        config = transformers.LlamaConfig(attention_bias=True, **keys)
        model = transformers.LlamaForCausalLM(config)
    theirs = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert theirs == teacher_shapes(teacher_config(PANGU_7B))


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "mistral"])
@pytest.mark.parametrize("tied", [False, True])
def test_every_family_gives_the_tensors_of_transformers(tmp_path: Path, kind: str, tied: bool) -> None:
    model = synthetic.hf_teacher(tmp_path, kind, tie_word_embeddings=tied)
    teacher = load_teacher(tmp_path)
    theirs = model.state_dict()
    assert set(teacher.matched.weights) == set(theirs)
    assert all(torch.equal(teacher.matched.weights[name], theirs[name]) for name in theirs)
    assert teacher.matched.unexpected == ()
    assert teacher.config.head_dim == model.model.layers[0].self_attn.head_dim
    assert teacher.config.rms_norm_eps == model.config.rms_norm_eps
    assert teacher.config.rope.theta == model.config.rope_parameters["rope_theta"]
    assert teacher.config.qk_norm == (kind == "qwen3")
    assert teacher.config.tie_word_embeddings is tied
    if tied:
        weights = teacher.matched.weights
        assert weights["lm_head.weight"].data_ptr() == weights["model.embed_tokens.weight"].data_ptr()


def test_openpangu_loads_without_its_code(tmp_path: Path) -> None:
    """`auto_map` is there and nothing of it runs; inv_freq is left out and said so."""
    model = synthetic.pangu_teacher(tmp_path)
    teacher = load_teacher(tmp_path)
    bias = "model.layers.3.self_attn.o_proj.bias"
    assert torch.equal(teacher.matched.weights[bias], model.state_dict()[bias])
    assert teacher.matched.ignored == ("model.layers.0.self_attn.rotary_emb.inv_freq",)
    assert (teacher.config.qkv_bias, teacher.config.o_bias, teacher.config.mlp_bias) == (True, True, False)
    assert teacher.config.rope.theta == 16000000.0


def test_remote_code_runs_only_when_asked(teacher_dir: Path) -> None:
    """The file would write a mark when imported."""
    mark = teacher_dir / "mark"
    code = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\nraise RuntimeError('imported')\n"
    (teacher_dir / "configuration_mine.py").write_text(code, encoding="utf-8")
    synthetic.edit_json(
        teacher_dir / "config.json", model_type="mine", auto_map={"AutoConfig": "configuration_mine.MyConfig"}
    )
    with pytest.raises(CheckpointError, match=r"brings its own code .* not run"):
        load_teacher(teacher_dir)
    assert not mark.exists()
    with pytest.raises(CheckpointError, match="cannot read its config: imported"):
        load_teacher(teacher_dir, trust_remote_code=True)
    assert mark.exists()


def test_shards_and_single_file_give_the_same(teacher_dir: Path) -> None:
    single = load_teacher(teacher_dir).matched.weights
    weights = load_file(teacher_dir / "model.safetensors")
    (teacher_dir / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file_name, held in parts.items():
        save_file({name: weights[name] for name in held}, teacher_dir / file_name)
    index = {"weight_map": {name: file_name for file_name, held in parts.items() for name in held}}
    synthetic.write_json(teacher_dir / "model.safetensors.index.json", index)
    sharded = load_teacher(teacher_dir).matched.weights
    assert all(torch.equal(sharded[name], single[name]) for name in single)
    (teacher_dir / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelMissingError, match=r"model-00002-of-00002\.safetensors is missing"):
        load_teacher(teacher_dir)


def test_an_index_cannot_reach_outside_its_directory(teacher_dir: Path) -> None:
    (teacher_dir / "model.safetensors").rename(teacher_dir.parent / "other.safetensors")
    synthetic.write_json(
        teacher_dir / "model.safetensors.index.json", {"weight_map": {"a": "../other.safetensors"}}
    )
    with pytest.raises(CheckpointError, match="outside the model directory"):
        load_teacher(teacher_dir)


def test_pytorch_bin_is_read_and_never_unpickled(teacher_dir: Path) -> None:
    """A pickle that would run code is refused by weights_only."""
    weights = load_file(teacher_dir / "model.safetensors")
    (teacher_dir / "model.safetensors").unlink()
    torch.save(weights, teacher_dir / "pytorch_model.bin")
    assert "lm_head.weight" in load_teacher(teacher_dir).matched.weights
    torch.save({"weight": _Touch(str(teacher_dir / "mark"))}, teacher_dir / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="weights_only=True"):
        load_teacher(teacher_dir)
    assert not (teacher_dir / "mark").exists()


class _Touch:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (self.path, "w"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hidden_size": "wide"}, "hidden_size should be a positive integer, got 'wide'"),
        ({"vocab_size": ...}, "vocab_size should be a positive integer, got None"),
        ({"num_key_value_heads": 3}, "not a multiple of"),
        ({"model_type": "gpt2"}, "model_type should be one of .* got 'gpt2'"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu', which means another activation"),
        ({"quantization_config": {"bits": 4}}, "quant_method is None; gptq, awq"),
        ({"num_hidden_layers": 9}, r"model.layers.8.input_layernorm.weight is missing \(and 8 more\)"),
        ({"intermediate_size": 25}, r"mlp.gate_proj.weight has shape \[24, 16\]"),
        ({"eos_token_id": 300}, "token ids below 300"),
        ({"rope_parameters": {"rope_type": "longrope"}}, "rope kind should be one of"),
    ],
)
def test_a_config_that_cannot_be_is_refused(
    teacher_dir: Path, changes: dict[str, Any], sentence: str
) -> None:
    load_teacher(teacher_dir)
    synthetic.edit_json(teacher_dir / "config.json", **changes)
    with pytest.raises(CheckpointError, match=sentence):
        load_teacher(teacher_dir)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model__layers__2__mlp__up_proj__weight": ...}, "model.layers.2.mlp.up_proj.weight is missing"),
        ({"model__norm__weight": lambda tensor: tensor[:-1]}, r"model.norm.weight has shape \[15\]"),
        ({"lm_head__weight": lambda tensor: tensor.to(torch.int8)}, "lm_head.weight has dtype torch.int8"),
        ({"model__layers__1__self_attn__q_proj__bias": torch.ones(16)}, "layer has no bias"),
    ],
)
def test_a_tensor_that_cannot_be_is_named(teacher_dir: Path, changes: dict[str, Any], sentence: str) -> None:
    synthetic.edit_weights(teacher_dir, **changes)
    with pytest.raises(CheckpointError, match=sentence):
        load_teacher(teacher_dir)


def test_a_tied_head_that_differs_is_refused(teacher_dir: Path) -> None:
    synthetic.edit_json(teacher_dir / "config.json", tie_word_embeddings=True)
    with pytest.raises(CheckpointError, match=r"lm_head\.weight differs from model\.embed_tokens\.weight"):
        load_teacher(teacher_dir)


@pytest.mark.parametrize(
    ("break_it", "error", "sentence"),
    [
        (lambda path: (path / "config.json").unlink(), ModelMissingError, "config.json is missing"),
        (lambda path: (path / "config.json").write_text("{"), CheckpointError, "not valid JSON"),
        (lambda path: (path / "config.json").write_text("[]"), CheckpointError, "should hold a JSON object"),
        (lambda path: (path / "model.safetensors").unlink(), ModelMissingError, "no weights in"),
        (lambda path: (path / "model.safetensors").write_bytes(b"junk"), CheckpointError, "not a readable"),
        (lambda path: (path / "tokenizer.json").unlink(), ModelMissingError, "tokenizer.json is missing"),
        (
            lambda path: (path / "tokenizer.json").write_text("{}"),
            CheckpointError,
            "json cannot be read",
        ),
    ],
)
def test_a_broken_file_is_one_sentence(
    teacher_dir: Path, break_it: Any, error: type[CheckpointError], sentence: str
) -> None:
    break_it(teacher_dir)
    with pytest.raises(error, match=sentence) as caught:
        load_teacher(teacher_dir)
    assert caught.value.exit_code == (3 if error is ModelMissingError else 2)
    assert "\n" not in str(caught.value)


def test_windows_are_read_layer_by_layer(tmp_path: Path) -> None:
    base = json.loads(_qwen2(tmp_path).read_text(encoding="utf-8"))
    base = {key: value for key, value in base.items() if key not in {"layer_types", "max_window_layers"}}
    off = teacher_config(base | {"use_sliding_window": False, "sliding_window": 64})
    assert off.windows == (0,) * 8
    on = base | {"use_sliding_window": True, "sliding_window": 64}
    assert teacher_config(on).windows == (0,) * 8  # the library's default: from layer 28 on
    assert teacher_config(on | {"max_window_layers": 0}).windows == (64,) * 8
    assert teacher_config(on | {"max_window_layers": 6}).windows == (0,) * 6 + (64,) * 2
    some = ["full_attention", "sliding_attention"] * 4
    assert teacher_config(on | {"layer_types": some}).windows == (0, 64) * 4
    assert teacher_config(on | {"layer_types": ["sliding_attention"] * 8}).sliding_window == 64
    for wrong in (some[:7], ["chunked_attention"] * 8, "sliding_attention"):
        with pytest.raises(CheckpointError, match="layer_types should"):
            teacher_config(on | {"layer_types": wrong})
    with pytest.raises(CheckpointError, match="max_window_layers"):
        teacher_config(on | {"max_window_layers": "all"})
    assert teacher_config(base | {"model_type": "mistral"} | {"sliding_window": None}).windows == (0,) * 8
    mistral = {key: value for key, value in base.items() if key != "sliding_window"}
    assert teacher_config(mistral | {"model_type": "mistral"}).sliding_window == 4096


def _qwen2(directory: Path) -> Path:
    synthetic.hf_teacher(directory, "qwen2")
    return directory / "config.json"


def test_head_dim_default_is_hidden_over_heads(teacher_dir: Path) -> None:
    synthetic.edit_json(teacher_dir / "config.json", head_dim=...)
    config = load_teacher(teacher_dir).config
    assert config.head_dim == config.hidden_size // config.num_heads == math.isqrt(config.hidden_size)
