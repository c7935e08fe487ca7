"""A teacher in int4 on both paths: equal weights from two derivations, lockstep, and what is refused.

Which bugs these catch: a layout that one path reads in another way; a scale that is rounded elsewhere; a
comparison with the unquantised teacher that becomes a finding.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reference.model import ReferenceModels
from tracing.errors import CheckpointError, UsageError
from tracing.models import ModelPair, Quantisation
from tracing.settings import DecodeSettings
from workbench.checkpoints.digests import weights_digest
from workbench.checkpoints.packed_directory import pack_directory
from workbench.checkpoints.quantised import parse_weights, quantised_teacher
from workbench.checkpoints.shipped import shipped_pair_dirs, shipped_prompt
from workbench.cli.run import run_command
from workbench.faults.bench import tiny_bench
from workbench.faults.experiment import run_lockstep
from workbench.faults.placement import Placement
from workbench.faults.tiny import tiny_pair
from workbench.fused.path import make_engine
from workbench.weights.int4_layouts import LAYOUTS

KEY = "model.layers.1.self_attn.o_proj"
SETTINGS = DecodeSettings(tree_nodes=12, depth=3, top_k=4)


def in_int4(text: str, pair: ModelPair | None = None) -> ModelPair:
    pair, wanted = pair or tiny_pair(), parse_weights(text)
    assert wanted is not None
    teacher, weights = quantised_teacher(pair.teacher, pair.teacher_weights, wanted)
    return replace(pair, teacher=teacher, teacher_weights=weights)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("group", [0, 32])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_paths_hold_the_same_weights(layout: str, group: int, dtype: str) -> None:
    """The operator over the identity gives its weight; the reference multiplies out what was shipped."""
    pair = in_int4(f"w4a16:{layout}:{group}")
    engine = make_engine(pair, SETTINGS, device="cpu", dtype=dtype)
    model: ReferenceModels = ReferenceModels(pair, dtype)
    bias, weight = model.teacher_weights[f"{KEY}.bias"], model.teacher_weights[f"{KEY}.weight"]
    layer = engine.teacher.layers[1].self_attn
    product = layer.output(torch.eye(weight.shape[1], dtype=engine.dtype))
    assert torch.equal(product, (weight.T.float() + bias.float()).to(engine.dtype))
    plain = tiny_pair().teacher_weights[f"{KEY}.weight"]
    assert 0.02 < float((weight.float() - plain).abs().mean() / plain.abs().mean()) < 0.2


def test_what_crosses_is_plain_data() -> None:
    pair = in_int4("w4a16:awq:32")
    names = {name for name in pair.teacher_weights if name.startswith(KEY)}
    assert names == {f"{KEY}.{part}" for part in ("packed", "scale", "offset", "bias")}
    assert pair.teacher.quantisation == Quantisation("awq", 32)
    assert pair.teacher_weights[f"{KEY}.packed"].dtype is torch.int32
    before = weights_digest(pair.teacher_weights)
    make_engine(pair, SETTINGS, device="cpu")
    ReferenceModels(pair)
    assert weights_digest(pair.teacher_weights) == before


@pytest.mark.parametrize("weights", [*(f"w4a16:{layout}:32" for layout in LAYOUTS), "w4a16:npu:0"])
def test_lockstep_finds_nothing_in_any_layout(tmp_path: Path, weights: str) -> None:
    setup = tiny_bench().setup("plain")
    setup = replace(setup, pair=in_int4(weights), settings=replace(setup.settings, max_new_tokens=6))
    assert run_lockstep(setup, Placement(), tmp_path / "run").findings == ()


@pytest.mark.parametrize(
    "text",
    ["int4", "w4a16:marlin", "w4a16:gptq:17", "w4a16:gptq:x", "w4a16:gptq:32:1", "w4a16:gptq:9999999", ""],
)
def test_what_cannot_be_asked_for_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--weights should be as-is, or w4a16"):
        parse_weights(text)


def test_weights_that_do_not_fit_are_refused() -> None:
    pair = in_int4("w4a16:gptq:32")
    with pytest.raises(UsageError, match="quantised already"):
        in_int4("w4a16", pair)
    for part in ("packed", "scale"):
        weights = dict(pair.teacher_weights)
        weights[f"{KEY}.{part}"] = weights[f"{KEY}.{part}"][:, :8]
        with pytest.raises(CheckpointError, match="words and scale should be"):
            make_engine(replace(pair, teacher_weights=weights), SETTINGS, device="cpu")
    for quantisation, says in (
        (Quantisation("marlin", 32), "marlin"),
        (Quantisation("gptq", 16), "multiple"),
    ):
        other = replace(pair, teacher=replace(pair.teacher, quantisation=quantisation))
        with pytest.raises(CheckpointError, match=says):
            make_engine(other, SETTINGS, device="cpu")
    with pytest.raises(CheckpointError, match="int4 layouts are"):
        ReferenceModels(replace(pair, teacher=replace(pair.teacher, quantisation=Quantisation("x"))))
    weights = dict(pair.teacher_weights)
    del weights[f"{KEY}.scale"]
    with pytest.raises(CheckpointError, match="without"):
        ReferenceModels(replace(pair, teacher_weights=weights))


def test_diff_of_a_packed_teacher_in_int4_is_ok(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The shipped teacher, from packed files, rounded to int4, in bfloat16; its quality is no finding."""
    teacher, drafter = shipped_pair_dirs()
    pack_directory(teacher, tmp_path / "packed")
    capsys.readouterr()
    arguments = [
        "diff",
        "--prompt",
        shipped_prompt("prose.txt"),
        "--model",
        tmp_path / "packed",
        "--draft",
        drafter,
    ]
    arguments += ["--weights", "w4a16:gptq", "--dtype", "bfloat16", "--out", tmp_path / "run"]
    arguments += ["--max-new-tokens", "9", "--tree-nodes", "12", "--depth", "3", "--top-k", "4"]
    code = run_command([*map(str, arguments), "--format", "json"])
    answer = json.loads(capsys.readouterr().out)
    assert (code, answer["verdict"], answer["findings"]) == (0, "ok", [])
    assert "the unquantised teacher would choose" in answer["quality"]
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["models"]["weights"] == "w4a16:gptq"
    assert manifest["quality"]["num_tokens"] == 9
    code = run_command(["replay", str(tmp_path / "run"), "--model", "shipped", "--format", "json"])
    replayed = json.loads(capsys.readouterr().out)
    assert (code, replayed["manifest"]["replay"]["models"]["teacher_weights"]) == (0, True)
