"""Medusa heads in every public layout come to the same drafter; what a conversion loses is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tracing.errors import CheckpointError
from workbench.checkpoints.load import load_pair
from workbench.checkpoints.report import Check
from workbench.checkpoints.shipped import shipped_pair_dirs

HIDDEN, VOCAB, HEADS = 256, 4096, 3
TEACHER = shipped_pair_dirs()[0]


def heads(layers: int = 1, rows: int = VOCAB) -> dict[str, torch.Tensor]:
    """Random heads under canonical names."""
    torch.manual_seed(3)
    made = {}
    for head in range(HEADS):
        for layer in range(layers):
            made[f"blocks.{head}.layers.{layer}.weight"] = torch.randn(HIDDEN, HIDDEN) * 0.01
            made[f"blocks.{head}.layers.{layer}.bias"] = torch.randn(HIDDEN)
        made[f"lm_heads.{head}.weight"] = torch.randn(rows, HIDDEN) * 0.01
    return made


def renamed(
    tensors: dict[str, torch.Tensor], block: str, head: str, layers: int = 1
) -> dict[str, torch.Tensor]:
    made = {}
    for name, tensor in tensors.items():
        parts = name.split(".")
        if parts[0] == "blocks":
            made[block.format(h=parts[1], l=parts[3]) + f".{parts[4]}"] = tensor
        else:
            made[head.format(h=parts[1], l=layers)] = tensor
    return made


LAYOUTS = {
    "official": ("{h}.{l}.linear", "{h}.{l}.weight", "medusa_lm_head.safetensors"),
    "official, prefixed": ("medusa_head.{h}.{l}.linear", "medusa_head.{h}.{l}.weight", "model.safetensors"),
    "vllm": ("blocks.{h}.layers.{l}", "lm_heads.{h}.weight", "model.safetensors"),
    "tensorrt_llm": (
        "medusa_heads.{h}.medusa_layers.{l}.linear",
        "medusa_heads.{h}.lm_head.weight",
        "model.safetensors",
    ),
}


def written(folder: Path, tensors: dict[str, torch.Tensor], config: dict[str, Any], name: str) -> Path:
    folder.mkdir()
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / name)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


def loaded(folder: Path) -> tuple[Any, dict[str, Check]]:
    made = load_pair(TEACHER, folder, proposer="medusa")
    return made.pair, {check.id: check for check in made.report.checks}


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_comes_to_the_same_heads(tmp_path: Path, layout: str, layers: int) -> None:
    block, head, name = LAYOUTS[layout]
    tensors = heads(layers)
    config = {"medusa_num_heads": HEADS, "medusa_num_layers": layers, "medusa_fc_bias": True}
    pair, checks = loaded(written(tmp_path / "heads", renamed(tensors, block, head, layers), config, name))
    assert (pair.drafter.num_heads, pair.drafter.num_layers, pair.drafter.draft_vocab_size) == (
        3,
        layers,
        VOCAB,
    )
    assert pair.drafter_weights.keys() == tensors.keys()
    assert all(torch.equal(pair.drafter_weights[each], tensors[each]) for each in tensors)
    assert {check.status for check in checks.values()} <= {"ok", "warning"}
    assert checks["drafter.biases"].status == checks["drafter.heads"].status == "ok"


def test_pickled_heads_load(tmp_path: Path) -> None:
    block, head, _ = LAYOUTS["official"]
    (tmp_path / "heads").mkdir()
    torch.save(renamed(heads(), block, head), tmp_path / "heads" / "medusa_lm_head.pt")
    assert loaded(tmp_path / "heads")[0].drafter.num_heads == HEADS


def test_heads_without_a_last_layer_share_the_teachers(tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in heads().items() if not name.startswith("lm_heads")}
    folder = written(
        tmp_path / "heads", renamed(tensors, *LAYOUTS["official"][:2]), {"version": "2"}, "model.safetensors"
    )
    pair, _ = loaded(folder)
    assert pair.drafter.shared_head
    assert torch.equal(pair.drafter_weights["lm_head.weight"], pair.teacher_weights["lm_head.weight"])


def test_a_token_map_keeps_the_rows_of_its_tokens(tmp_path: Path) -> None:
    kept = torch.tensor([5, 3, 3999, 17, 8, 9, 10, 11, 12, 13, 14])
    tensors = {**heads(), "token_map": kept}
    config = {"truncated_vocab_size": len(kept), "medusa_fc_bias": True, "num_heads": HEADS}
    pair, checks = loaded(written(tmp_path / "heads", tensors, config, "model.safetensors"))
    assert pair.target_from_draft.tolist() == kept.tolist()
    assert torch.equal(pair.drafter_weights["lm_heads.1.weight"], tensors["lm_heads.1.weight"][kept])
    assert checks["drafter.unexpected"].status == "ok"


def without_biases(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.endswith("bias")}


def test_biases_that_a_conversion_or_a_loader_drops_are_named(tmp_path: Path) -> None:
    _, checks = loaded(written(tmp_path / "none", without_biases(heads()), {}, "model.safetensors"))
    assert checks["drafter.biases"].status == "warning"
    assert "conversion may have lost them" in checks["drafter.biases"].sentence
    _, checks = loaded(written(tmp_path / "silent", heads(), {}, "model.safetensors"))
    assert "vLLM drops in silence" in checks["drafter.biases"].sentence


def test_a_wrong_number_of_heads_in_the_config_is_a_warning(tmp_path: Path) -> None:
    _, checks = loaded(written(tmp_path / "heads", heads(), {"medusa_num_heads": 5}, "model.safetensors"))
    assert (checks["drafter.heads"].status, "config.json says 5" in checks["drafter.heads"].sentence) == (
        "warning",
        True,
    )


def _poked(change: dict[str, torch.Tensor | None]) -> dict[str, torch.Tensor]:
    made: dict[str, torch.Tensor | None] = {**heads(), **change}
    return {name: tensor for name, tensor in made.items() if tensor is not None}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"blocks.1.layers.0.weight": None, "blocks.1.layers.0.bias": None}, "numbered from 0"),
        ({"blocks.1.layers.1.weight": torch.zeros(HIDDEN, HIDDEN)}, "the same blocks"),
        ({"blocks.1.layers.0.weight": torch.zeros(HIDDEN, 8)}, r"blocks\.1\.layers\.0\.weight has shape"),
        ({"lm_heads.0.weight": torch.zeros(100, HIDDEN)}, "need a token_map"),
        ({"lm_heads.2.weight": None}, r"lm_heads\.2\.weight is missing"),
        ({"token_map": torch.tensor([1, VOCAB])}, "token_map should hold ids from 0 to"),
        ({"token_map": torch.tensor([1, 1])}, "each token id once"),
        ({"token_map": torch.tensor([0.5])}, "a list of token ids"),
    ],
)
def test_broken_heads_are_refused(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    folder = written(tmp_path / "heads", _poked(change), {}, "model.safetensors")
    with pytest.raises(CheckpointError, match=sentence):
        loaded(folder)


def test_an_eagle_drafter_is_no_medusa() -> None:
    with pytest.raises(CheckpointError, match=r"no Medusa head; expected names like 0\.0\.linear\.weight"):
        load_pair(*shipped_pair_dirs(), proposer="medusa")
