"""The three layouts of one drafter load to the same plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints import synthetic
from tests.checkpoints.synthetic import VD, D, H, N, V
from tracing.errors import CheckpointError, ModelMissingError
from workbench.checkpoints.load import LoadedPair, load_pair


def status(loaded: LoadedPair, check_id: str) -> str:
    return next(check.status for check in loaded.report.checks if check.id == check_id)


def test_the_three_layouts_are_one(llama_dir: Path, tmp_path: Path) -> None:
    loaded = [
        load_pair(llama_dir, synthetic.official(tmp_path / "official")),
        load_pair(llama_dir, synthetic.specforge(tmp_path / "specforge")),
        load_pair(llama_dir, synthetic.speculators(tmp_path / "speculators", norm_before_residual=False)),
    ]
    first = loaded[0].pair
    for other in loaded[1:]:
        assert other.pair.drafter == first.drafter
        assert set(other.pair.drafter_weights) == set(first.drafter_weights)
        for name, tensor in first.drafter_weights.items():
            assert torch.equal(other.pair.drafter_weights[name], tensor), name
        assert torch.equal(other.pair.target_from_draft, synthetic.kept_ids())
    assert [one.report.drafter.layout for one in loaded] == ["official", "specforge", "speculators"]
    assert first.drafter.aux_layers == (2, N // 2, N - 3)
    assert torch.equal(
        first.drafter_weights["embed_tokens.weight"], first.teacher_weights["model.embed_tokens.weight"]
    )


def test_aux_ids_mean_what_their_layout_says(llama_dir: Path, tmp_path: Path) -> None:
    """The same tensors are called [1, n//2-1, n-4] by SpecForge and [2, n//2, n-3] by speculators."""
    outputs, boundaries = [1, N // 2 - 1, N - 4], [2, N // 2, N - 3]
    from_outputs = load_pair(llama_dir, synthetic.specforge(tmp_path / "a", ids=outputs))
    from_boundaries = load_pair(
        llama_dir, synthetic.speculators(tmp_path / "b", eagle_aux_hidden_state_layer_ids=boundaries)
    )
    with_final = load_pair(
        llama_dir, synthetic.speculators(tmp_path / "c", eagle_aux_hidden_state_layer_ids=[*boundaries, N])
    )
    taps = {one.pair.drafter.aux_layers for one in (from_outputs, from_boundaries, with_final)}
    assert taps == {(2, N // 2, N - 3)}
    assert status(from_outputs, "drafter.aux_layers") == "ok"


def test_a_shallow_teacher_gets_the_formula_and_a_warning(tmp_path: Path) -> None:
    """Six layers: 2, 3, 3. The official formula repeats a tap, which is said and not refused."""
    synthetic.hf_teacher(tmp_path / "teacher", num_hidden_layers=6)
    silent = synthetic.official(tmp_path / "draft", eagle_aux_hidden_state_layer_ids=None)
    loaded = load_pair(tmp_path / "teacher", silent)
    assert loaded.pair.drafter.aux_layers == (2, 3, 3)
    assert status(loaded, "drafter.aux_layers") == "warning"
    synthetic.hf_teacher(tmp_path / "flat", num_hidden_layers=2)
    with pytest.raises(CheckpointError, match="do not fit a teacher of 2 layers"):
        load_pair(tmp_path / "flat", tmp_path / "draft")


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        ([1, 2], "should be three layer ids"),
        ([1, 3, N + 1], "do not fit a teacher of 8 layers"),
        ([-2, 3, 4], "do not fit a teacher of 8 layers"),
        ([1, 1, 4], "three different layers"),
        ([1, "2", 3], "should be integers"),
    ],
)
def test_aux_ids_that_cannot_be_are_refused(
    llama_dir: Path, tmp_path: Path, ids: list[Any], sentence: str
) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        load_pair(llama_dir, synthetic.specforge(tmp_path / "draft", ids=ids))


def test_qwen3_block_and_norm_flags(llama_dir: Path, tmp_path: Path) -> None:
    directory = synthetic.speculators(
        tmp_path / "draft", inner={"model_type": "qwen3"}, norm_before_fc=True, norm_output=True
    )
    with pytest.raises(CheckpointError, match=r"input_norm\.weight is missing"):
        load_pair(llama_dir, directory)
    synthetic.edit_weights(directory, input_norm__weight=torch.ones(3 * H))
    loaded = load_pair(llama_dir, directory)
    drafter = loaded.pair.drafter
    assert drafter.qk_norm
    assert drafter.norm_before_residual
    assert drafter.norm_output
    assert drafter.norm_before_fc
    assert loaded.pair.drafter_weights["midlayer.self_attn.k_norm.weight"].shape == (D,)


def test_specforge_fc_norm_and_old_norm_output_warning(llama_dir: Path, tmp_path: Path) -> None:
    directory = synthetic.specforge(tmp_path / "draft", fc_norm=True, norm_output=True)
    norms = {f"fc_norm__{tap}__weight": torch.full((H,), float(tap + 1)) for tap in range(3)}
    synthetic.edit_weights(directory, **norms)
    loaded = load_pair(llama_dir, directory)
    assert loaded.pair.drafter.fc_norm
    assert float(loaded.pair.drafter_weights["fc_norm.2.weight"][0]) == 3.0
    assert status(loaded, "drafter.norms") == "warning"
    quiet = load_pair(llama_dir, synthetic.specforge(tmp_path / "quiet"))
    assert status(quiet, "drafter.norms") == "ok"


def test_attention_biases_are_kept(llama_dir: Path, tmp_path: Path) -> None:
    config = synthetic.block_config(draft_vocab_size=VD)
    directory = synthetic.write_drafter(tmp_path / "draft", config, synthetic.drafter_tensors(bias=True))
    loaded = load_pair(llama_dir, directory)
    assert (loaded.pair.drafter.qkv_bias, loaded.pair.drafter.o_bias) == (True, True)
    assert "midlayer.self_attn.o_proj.bias" in loaded.pair.drafter_weights
    promised = synthetic.official(tmp_path / "promised", attention_bias=True)
    with pytest.raises(CheckpointError, match=r"midlayer\.self_attn\.q_proj\.bias is missing"):
        load_pair(llama_dir, promised)


def test_own_embedding_is_used_and_compared(llama_dir: Path, tmp_path: Path) -> None:
    directory = synthetic.official(tmp_path / "draft")
    teacher = load_pair(llama_dir, directory).pair.teacher_weights["model.embed_tokens.weight"]
    synthetic.edit_weights(directory, embed_tokens__weight=teacher.clone())
    assert status(load_pair(llama_dir, directory), "pair.embedding") == "ok"
    synthetic.edit_weights(directory, embed_tokens__weight=teacher + 1)
    other = load_pair(llama_dir, directory)
    assert status(other, "pair.embedding") == "warning"
    assert torch.equal(other.pair.drafter_weights["embed_tokens.weight"], teacher + 1)


def test_absolute_d2t_is_detected(llama_dir: Path, draft_dir: Path) -> None:
    synthetic.edit_weights(draft_dir, d2t=synthetic.kept_ids())
    loaded = load_pair(llama_dir, draft_dir)
    assert loaded.report.d2t_convention == "absolute"
    assert torch.equal(loaded.pair.target_from_draft, synthetic.kept_ids())


def test_a_full_vocabulary_drafter_has_no_map(llama_dir: Path, tmp_path: Path) -> None:
    tensors = synthetic.drafter_tensors() | {"lm_head.weight": torch.randn(V, H)}
    for name in ("d2t", "t2d"):
        tensors.pop(name)
    config = synthetic.block_config(draft_vocab_size=V)
    loaded = load_pair(llama_dir, synthetic.write_drafter(tmp_path / "draft", config, tensors))
    assert torch.equal(loaded.pair.target_from_draft, torch.arange(V))
    assert status(loaded, "drafter.t2d") == "ok"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"fc__weight": lambda tensor: tensor[:, :-1]}, r"fc.weight has shape \[16, 47\]"),
        ({"fc__weight": ...}, "fc.weight is missing"),
        ({"midlayer__hidden_norm__weight": ...}, "midlayer.hidden_norm.weight is missing"),
        ({"lm_head__weight": lambda tensor: tensor[:-1]}, r"lm_head.weight has shape \[39, 16\]"),
        ({"d2t": ...}, "d2t is missing"),
        ({"d2t": lambda tensor: tensor + 1}, "d2t disagrees with t2d at draft id 0"),
        ({"t2d": lambda tensor: ~tensor}, "t2d keeps 260 target ids"),
        ({"fc__bias": torch.ones(H)}, "fc.bias is in the file"),
        ({"layers__1__mlp__up_proj__weight": torch.ones(2)}, "more than one layer"),
        ({"norm__weight": lambda tensor: tensor * float("nan")}, "norm.weight holds NaN or Inf"),
    ],
)
def test_a_tensor_that_cannot_be_is_named(
    llama_dir: Path, draft_dir: Path, changes: dict[str, Any], sentence: str
) -> None:
    synthetic.edit_weights(draft_dir, **changes)
    with pytest.raises(CheckpointError, match=sentence):
        load_pair(llama_dir, draft_dir)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"draft_vocab_size": ...}, "has no draft_vocab_size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers should be a positive integer"),
        ({"speculators_model_type": "medusa"}, "should be 'eagle3'"),
        ({"speculators_model_type": "eagle3"}, "transformer_layer_config is missing"),
        ({"model_type": "gpt2"}, "drafter block type should be one of"),
        ({"hidden_size": 8}, "cannot replace that of a drafter of width 8"),
        ({"target_hidden_size": 32}, r"fc.weight has shape \[16, 48\]"),
        ({"norm_output": "yes"}, "norm_output should be true or false"),
        ({"vocab_size": 200}, r"embed_tokens.weight has shape \[300, 16\]"),
    ],
)
def test_a_config_that_cannot_be_is_refused(
    llama_dir: Path, draft_dir: Path, changes: dict[str, Any], sentence: str
) -> None:
    synthetic.edit_json(draft_dir / "config.json", **changes)
    with pytest.raises(CheckpointError, match=sentence):
        load_pair(llama_dir, draft_dir)


def test_a_missing_directory_is_exit_code_3(llama_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError, match=r"drafter directory .* does not exist") as caught:
        load_pair(llama_dir, tmp_path / "nowhere")
    assert caught.value.exit_code == 3
    with pytest.raises(ModelMissingError, match="is not a directory"):
        load_pair(llama_dir / "config.json", llama_dir)
