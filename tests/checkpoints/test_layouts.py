"""Legal layouts load as they are meant; what is of another kind is refused in the file's own words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints import synthetic
from tests.checkpoints.synthetic import INNER, VD, H, N
from tracing.errors import CheckpointError
from tracing.models import DrafterConfig
from workbench.checkpoints.load import LoadedPair, load_pair

MODELOPT = {
    "eagle_aux_hidden_state_layer_ids": [1, N // 2 - 1, N - 4], "use_aux_hidden_state": True,
    "use_input_layernorm_in_first_layer": True, "use_last_layernorm": True, "use_mtp_layernorm": False,
    "next_layer_regular": True, "parallel_draft_step": 1, "parallel_draft_heads_num_layers": 1,
}  # fmt: skip


def check(loaded: LoadedPair, check_id: str) -> tuple[str, str]:
    return next((one.status, one.sentence) for one in loaded.report.checks if one.id == check_id)


def write(directory: Path, tensors: dict[str, Any] | None = None, **config: Any) -> Path:
    base = synthetic.block_config(architectures=["LlamaForCausalLMEagle3"], draft_vocab_size=VD)
    return synthetic.write_drafter(directory, base | config, tensors or synthetic.drafter_tensors())


def warnings(loaded: LoadedPair) -> dict[str, str]:
    return {one.id: one.sentence for one in loaded.report.checks if one.status == "warning"}


@pytest.mark.parametrize("prefix", ["midlayer.", "layers.0.", "model.midlayer.", "model.layers.0."])
@pytest.mark.parametrize(
    "config",
    [
        {"eagle_config": MODELOPT},
        {"architectures": ["Eagle3LlamaForCausalLM"], "eagle_aux_hidden_state_layer_ids": [2, N // 2, N - 3]},
        {"architectures": ["LlamaForCausalLM"], "eagle_aux_hidden_state_layer_ids": [2, N // 2, N - 3]},
    ],
)
def test_any_name_of_the_layer_in_any_layout(
    llama_dir: Path, tmp_path: Path, prefix: str, config: dict[str, Any]
) -> None:
    """Exports of NVIDIA and TorchSpec say `layers.0.` under a configuration of SpecForge's form."""
    directory = write(tmp_path / "draft", synthetic.drafter_tensors(prefix), **config)
    loaded = load_pair(llama_dir, directory)
    plain = load_pair(llama_dir, synthetic.official(tmp_path / "plain"))
    assert loaded.pair.drafter == plain.pair.drafter
    assert loaded.report.status == "ok"
    weights = plain.pair.drafter_weights
    assert all(torch.equal(loaded.pair.drafter_weights[name], weights[name]) for name in weights)


@pytest.mark.parametrize(
    ("ids", "read"),
    [
        (None, (True, (2, 4, 5), "a guess")),
        ([], (True, (2, 4, 5), "a guess")),
        ([], (False, (2, 4, 5), "a guess")),
        ([1, 3, 4], (True, (2, 4, 5), "")),
        ([2, 4, 5], (True, (2, 4, 5), "")),
        ([2, 4, 5], (False, (2, 4, 5), "")),
        ([1, 3, 4], (False, (2, 4, 5), "")),
        ([4, 6, 8], (True, (4, 6, 8), "")),
        ([0, 4, 8], (False, (0, 4, 8), "")),
        ([-1, 3, 6], (True, (0, 4, 7), "")),
        ([1, 3, 6], (True, (2, 4, 7), "may also mean the stream entering [1, 3, 6]")),
        ([1, 3, 7], (False, (1, 3, 7), "may also mean the stream entering [2, 4, 8]")),
        ([4, 1, 3], (True, (2, 4, 5), "read in ascending order")),
        ([5, 4, 2], (False, (2, 4, 5), "read in ascending order")),
    ],
)
def test_where_ids_are_written_and_what_they_mean(
    llama_dir: Path, tmp_path: Path, ids: list[int] | None, read: tuple[bool, tuple[int, ...], str]
) -> None:
    nested, entering, doubt = read
    written = {"eagle_aux_hidden_state_layer_ids": ids}
    config = {"eagle_config": written | {"use_aux_hidden_state": True}} if nested else written
    loaded = load_pair(llama_dir, write(tmp_path / "draft", **config))
    assert loaded.pair.drafter.aux_layers == entering
    assert loaded.report.aux_layers == entering
    status, sentence = check(loaded, "drafter.aux_layers")
    assert status == ("warning" if doubt else "ok")
    assert doubt in sentence
    assert set(warnings(loaded)) == ({"drafter.aux_layers"} if doubt else set())


def test_ids_in_two_places_must_agree(llama_dir: Path, tmp_path: Path) -> None:
    nested = {"eagle_aux_hidden_state_layer_ids": [1, 3, 4]}
    both = write(tmp_path / "both", eagle_config=nested, **nested)
    assert load_pair(llama_dir, both).pair.drafter.aux_layers == (2, 4, 5)
    other = write(tmp_path / "other", eagle_config=nested, aux_hidden_state_layer_ids=[2, 4, 5])
    with pytest.raises(CheckpointError, match="names the tapped layers twice"):
        load_pair(llama_dir, other)


@pytest.mark.parametrize("model_type", ["qwen2", "phi3", "qwen3", "mistral", "llama"])
def test_blocks_without_biases_whatever_they_are_called(
    llama_dir: Path, tmp_path: Path, model_type: str
) -> None:
    ids = {"eagle_aux_hidden_state_layer_ids": [1, 3, 4]}
    loaded = load_pair(llama_dir, write(tmp_path / "draft", model_type=model_type, eagle_config=ids))
    plain = load_pair(llama_dir, synthetic.official(tmp_path / "plain"))
    assert loaded.pair.drafter == plain.pair.drafter
    assert loaded.report.status == "ok"
    with_bias = write(
        tmp_path / "b", synthetic.drafter_tensors(bias=True), model_type=model_type, eagle_config=ids
    )
    assert load_pair(llama_dir, with_bias).pair.drafter.qkv_bias


def test_a_copied_depth_with_one_layer_in_the_file(llama_dir: Path, tmp_path: Path) -> None:
    loaded = load_pair(llama_dir, write(tmp_path / "draft", num_hidden_layers=24, eagle_config=MODELOPT))
    assert warnings(loaded) == {
        "drafter.config": "drafter: num_hidden_layers is 24, the file holds one layer"
    }


FLAGS: dict[str, dict[str, Any]] = {
    "norm_before_residual": {},
    "norm_output": {},
    "norm_before_fc": {"input_norm.weight": torch.rand(3 * H)},
    "fc_norm": {f"fc_norm.{tap}.weight": torch.rand(H) for tap in range(3)},
}


@pytest.mark.parametrize("key", FLAGS)
@pytest.mark.parametrize("nested", [True, False])
def test_norm_flags_are_read_where_they_are(llama_dir: Path, tmp_path: Path, key: str, nested: bool) -> None:
    ids = {"eagle_aux_hidden_state_layer_ids": [1, 3, 4]}
    config = {"eagle_config": ids | {key: True}} if nested else {"eagle_config": ids, key: True}
    tensors = synthetic.drafter_tensors() | FLAGS[key]
    loaded = load_pair(llama_dir, write(tmp_path / "draft", tensors, **config))
    assert getattr(loaded.pair.drafter, key) is True
    without = load_pair(llama_dir, write(tmp_path / "other", eagle_config=ids))
    fields = {name for name in DrafterConfig.__slots__ if name in FLAGS}
    assert {name for name in fields if getattr(without.pair.drafter, name)} == set()
    clash = {"eagle_config": ids | {key: False}, key: True}
    with pytest.raises(CheckpointError, match=f"{key} is True and eagle_config.{key} is False"):
        load_pair(llama_dir, write(tmp_path / "clash", tensors, **clash))


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu', which means another activation"),
        ({"hidden_activation": "gelu_pytorch_tanh"}, "another activation"),
        ({"rope_scaling": {"factor": 8.0}}, "have 'factor' but no rope_type"),
        ({"rope_scaling": {"type": "dynamic", "factor": 1.0, "alpha": 1000.0}}, "alpha 1000.0"),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, "got 'longrope'"),
        ({"logit_scale": 0.5}, "logit_scale is 0.5, which means a scale"),
        ({"attn_logit_softcapping": 50.0}, "a cap on attention scores"),
        ({"is_causal": False}, "attention to later tokens"),
        ({"kv_lora_rank": 512}, "multi-head latent attention"),
        ({"num_aux_hidden_states": 5}, "another number of tapped teacher layers"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantised weights"),
        ({"eagle_config": {"use_aux_hidden_state": False}}, "reads the final hidden state alone"),
        ({"eagle_config": {"use_last_layernorm": False}}, "eagle_config.use_last_layernorm is False"),
        ({"eagle_config": {"use_input_layernorm_in_first_layer": False}}, "no norm on the embedding"),
        ({"eagle_config": {"use_mtp_layernorm": True}}, "use_mtp_layernorm"),
        ({"eagle_config": {"parallel_draft_step": 4}}, "several tokens drafted at once"),
        ({"eagle_config": {"eagle_aux_hidden_state_layer_ids": [1, 2, 3, 4]}}, "should be three layer ids"),
        ({"dflash_config": {"target_layer_ids": [1, 2]}}, "a drafter of another kind"),
        ({"mlp_bias": True}, "biases in the MLP"),
        ({"attention_head_dim": 8}, "attention_head_dim is 8, head_dim 4"),
        ({"architectures": ["PEagleDraftModel"]}, "names 'PEagleDraftModel'"),
        ({"architectures": ["Eagle3DeepseekV2ForCausalLM"]}, "names 'Eagle3DeepseekV2ForCausalLM'"),
        ({"layer_types": ["sliding_attention"]}, "but sliding_window is not written"),
        ({"layer_types": ["chunked_attention"]}, "layer_types should be"),
    ],
)  # fmt: skip
def test_keys_that_change_the_arithmetic_are_refused(
    llama_dir: Path, tmp_path: Path, config: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        load_pair(llama_dir, write(tmp_path / "draft", **config))


@pytest.mark.parametrize(
    ("config", "window"),
    [
        ({"layer_types": ["sliding_attention"], "sliding_window": 8}, 8),
        ({"use_sliding_window": True, "sliding_window": 8}, 8),
        ({"model_type": "mistral", "sliding_window": 8}, 8),
        ({"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}, 8),
        ({"layer_types": ["full_attention"], "sliding_window": 8}, 0),
        ({"sliding_window": 8}, 0),
    ],
)
def test_the_drafters_window_is_read(
    llama_dir: Path, tmp_path: Path, config: dict[str, Any], window: int
) -> None:
    assert load_pair(llama_dir, write(tmp_path / "draft", **config)).pair.drafter.window == window


@pytest.mark.parametrize(
    "config",
    [
        {"sliding_window": 8, "use_sliding_window": False},
        {"sliding_window": 256, "layer_types": ["sliding_attention"]},
        {"sliding_window": 8, "layer_types": ["full_attention"]},
        {"sliding_window": 8, "use_sliding_window": True, "model_type": "qwen3", "max_window_layers": 28},
        {"rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 0]}},
        {"rope_scaling": {"type": "default", "rope_type": "default", "mrope_section": [1, 1, 0],
                          "mrope_interleaved": True}},
        {"hidden_act": "swish", "logit_scale": 1.0, "is_causal": True, "tie_word_embeddings": True},
        {"num_aux_hidden_states": 3, "target_hidden_size": H, "mlp_bias": False, "attention_bias": False},
        {"image_token_id": 5, "attention_dropout": 0.1, "_torchspec_version": "x", "modal_type": "VLM"},
    ],
)  # fmt: skip
def test_keys_that_mean_what_is_computed_are_silent(
    llama_dir: Path, tmp_path: Path, config: dict[str, Any]
) -> None:
    loaded = load_pair(llama_dir, write(tmp_path / "draft", eagle_config=MODELOPT, **config))
    assert warnings(loaded) == {}
    assert loaded.pair.drafter.rope.kind == "default"
    assert loaded.pair.drafter.rope.parameters == {}


def test_keys_that_no_table_knows_are_listed(llama_dir: Path, tmp_path: Path) -> None:
    odd = {"my_own_norm": True, "eagle_config": MODELOPT | {"residual_gain": 2}, "unused": None}
    block = {"rope_type": "linear", "factor": 2.0, "wobble": 3}
    loaded = load_pair(llama_dir, write(tmp_path / "draft", rope_scaling=block, **odd))
    assert warnings(loaded)["drafter.config_keys"] == (
        "drafter: keys not known and not read: my_own_norm, eagle_config.residual_gain, rope_scaling.wobble"
    )


@pytest.mark.parametrize(
    ("prefix", "edit", "sentence"),
    [
        ("layers.0.", {"layers.0.hidden_norm.weight": None}, r"^layers\.0\.hidden_norm\.weight is missing"),
        ("model.layers.0.", {"model.layers.0.mlp.up_proj.weight": torch.ones(INNER, H + 1)},
         r"^model\.layers\.0\.mlp\.up_proj\.weight has shape"),
        ("layers.0.", {"layers.1.self_attn.q_proj.weight": torch.ones(1)}, r"^layers\.1\..*more than one"),
        ("midlayer.", {"additional_layers.0.x": torch.ones(1)}, "more than one layer"),
        ("midlayer.", {"lm_head.weight": None}, "a head of its own"),
        ("layers.0.", {"fc.weight": torch.ones(H, 5 * H)}, r"fc\.weight has shape \[16, 80\]"),
        ("block.", {}, r"midlayer\..* is missing .*; the file holds 'block\."),
        ("layers.0.", {"midlayer.hidden_norm.weight": torch.ones(H)}, "under another name too"),
    ],
)  # fmt: skip
def test_the_file_speaks_in_its_own_names(
    llama_dir: Path, tmp_path: Path, prefix: str, edit: dict[str, Any], sentence: str
) -> None:
    tensors = synthetic.drafter_tensors(prefix) | {name: one for name, one in edit.items() if one is not None}
    kept = {name: one for name, one in tensors.items() if edit.get(name, one) is not None}
    with pytest.raises(CheckpointError, match=sentence):
        load_pair(llama_dir, write(tmp_path / "draft", kept))
