"""Checkpoints in int4 as their makers write them, from files to what crosses.

Which bugs these catch: a name or a shape of another layout; reordered groups, zero points of another version
and other numbers of bits that are read as if they were supported.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tracing.errors import CheckpointError
from tracing.models import Quantisation
from tracing.settings import DecodeSettings
from workbench.checkpoints.load import load_pair
from workbench.checkpoints.quantised import quantised_teacher
from workbench.checkpoints.quantised_files import NAMES
from workbench.faults.files import export_tiny
from workbench.fused.path import make_engine
from workbench.weights.int4_layouts import LAYOUTS

GROUP = 32
CONFIGS: dict[str, dict[str, Any]] = {
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": False},
    "awq": {"quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True, "version": "gemm"},
    "npu": {"quant_method": "npu-int4", "group_size": GROUP},
    "compressed-tensors": {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "ignore": ["lm_head"],
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": GROUP,
                            "symmetric": True},
            }
        },
    },
}  # fmt: skip
KEY = "model.layers.0.mlp.down_proj"


def write(folder: Path, layout: str) -> tuple[Path, Path]:
    """Write the tiny pair with its teacher as a layout ships it; returns the directories."""
    teacher, drafter = export_tiny(folder)
    pair = load_pair(teacher, drafter).pair
    _, weights = quantised_teacher(pair.teacher, pair.teacher_weights, Quantisation(layout, GROUP))
    tensors = {named(name, layout): tensor.contiguous().clone() for name, tensor in weights.items()}
    if layout == "gptq":
        for key in {name.removesuffix(".packed") for name in weights if name.endswith(".packed")}:
            rows = tensors[f"{key}.qweight"].shape[0] * 8
            tensors[f"{key}.g_idx"] = torch.arange(rows, dtype=torch.int32) // GROUP
    if layout == "compressed-tensors":
        tensors[f"{KEY}.weight_shape"] = torch.tensor([32, 64])
    if pair.teacher.tie_word_embeddings:
        del tensors["lm_head.weight"]
    save_file(tensors, teacher / "model.safetensors")
    config = json.loads((teacher / "config.json").read_text())
    (teacher / "config.json").write_text(json.dumps(config | {"quantization_config": CONFIGS[layout]}))
    return teacher, drafter


def named(name: str, layout: str) -> str:
    key, _, part = name.rpartition(".")
    return f"{key}.{getattr(NAMES[layout], part)}" if part in {"packed", "scale", "offset"} else name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_shipped_crosses(layout: str, tmp_path: Path) -> None:
    plain = load_pair(*export_tiny(tmp_path / "plain")).pair
    config, weights = quantised_teacher(plain.teacher, plain.teacher_weights, Quantisation(layout, GROUP))
    loaded = load_pair(*write(tmp_path / "int4", layout))
    assert loaded.pair.teacher.quantisation == Quantisation(layout, GROUP)
    assert replace(loaded.pair.teacher, hf_config={}) == replace(config, hf_config={})
    assert loaded.pair.teacher_weights.keys() == weights.keys()
    assert all(torch.equal(loaded.pair.teacher_weights[name], weights[name]) for name in weights)
    assert {check.id for check in loaded.report.checks if check.status == "failed"} == set()
    make_engine(loaded.pair, DecodeSettings(), device="cpu")


@pytest.mark.parametrize(
    ("layout", "change", "says"),
    [
        ("gptq", {"bits": 8}, "bits is 8; 4"),
        ("gptq", {"desc_act": True}, "desc_act is True"),
        ("gptq", {"checkpoint_format": "gptq_v2"}, "stored less one"),
        ("gptq", {"group_size": "x"}, "group_size is 'x'"),
        ("awq", {"group_size": 16}, "groups of 16"),
        ("gptq", {"quant_method": "fp8"}, "quant_method is 'fp8'"),
        ("awq", {"version": "gemv"}, "version is 'gemv'"),
        ("awq", {"quant_method": "gptq"}, "has shape"),
        ("compressed-tensors", {"format": "float-quantized"}, "format is 'float-quantized'"),
        ("compressed-tensors", {"config_groups": {}}, "one group with weights"),
        ("compressed-tensors", {"quant_method": "awq", "bits": 4}, "qweight is missing"),
    ],
)
def test_other_configs_are_refused(layout: str, change: dict[str, Any], says: str, tmp_path: Path) -> None:
    teacher, drafter = write(tmp_path, layout)
    config = json.loads((teacher / "config.json").read_text())
    config["quantization_config"] |= change
    (teacher / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=says):
        load_pair(teacher, drafter)


def test_layers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    teacher, drafter = write(tmp_path, "gptq")
    good = load_file(teacher / "model.safetensors")
    changes: list[tuple[str, torch.Tensor | None, str]] = [
        ("qweight", None, "qweight is missing"),
        ("scales", None, "scales is missing"),
        ("qweight", good[f"{KEY}.qweight"][:4].clone(), "has shape"),
        ("qweight", good[f"{KEY}.qweight"].float(), "int32 words expected"),
        ("scales", good[f"{KEY}.scales"].int(), "floating point expected"),
        ("g_idx", good[f"{KEY}.g_idx"].flip(0), "act-order"),
    ]
    for end, tensor, says in changes:
        other = dict(good)
        del other[f"{KEY}.{end}"]
        save_file(
            other if tensor is None else other | {f"{KEY}.{end}": tensor}, teacher / "model.safetensors"
        )
        with pytest.raises(CheckpointError, match=says):
            load_pair(teacher, drafter)
