"""What is exported loads back as what was trained, in the formats that real models use."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.checkpoints import synthetic
from workbench.checkpoints.export import SpecialIds, export_drafter, export_teacher, export_tokenizer
from workbench.checkpoints.load import LoadedPair, load_pair

SPECIAL = SpecialIds(bos=1, eos=2, pad=0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> LoadedPair:
    directory = tmp_path_factory.mktemp("trained")
    synthetic.pangu_teacher(directory)
    return load_pair(directory, synthetic.official(directory / "draft"))


def export(trained: LoadedPair, directory: Path) -> LoadedPair:
    teacher, drafter = directory / "teacher", directory / "drafter"
    pair = trained.pair
    export_teacher(teacher, pair.teacher, pair.teacher_weights, SPECIAL)
    export_tokenizer(
        teacher, synthetic.tokenizer_json(), {"bos_token": "<s>", "eos_token": "</s>"}, max_len=256
    )
    export_drafter(
        drafter,
        pair.drafter,
        pair.drafter_weights,
        pair.target_from_draft,
        num_teacher_layers=pair.teacher.num_layers,
        special=SPECIAL,
    )
    return load_pair(teacher, drafter)


def test_round_trip(trained: LoadedPair, tmp_path: Path) -> None:
    """Only the rounding to float16 differs; configuration, map and end tokens are equal."""
    again = export(trained, tmp_path)
    assert replace(again.pair.teacher, hf_config={}) == replace(trained.pair.teacher, hf_config={})
    assert again.pair.drafter == trained.pair.drafter
    assert torch.equal(again.pair.target_from_draft, trained.pair.target_from_draft)
    assert again.pair.eos_token_ids == {2}
    for ours, theirs in (
        (again.pair.teacher_weights, trained.pair.teacher_weights),
        (again.pair.drafter_weights, trained.pair.drafter_weights),
    ):
        assert set(ours) == set(theirs)
        assert all(torch.equal(ours[name], theirs[name].half()) for name in theirs)
    assert again.report.drafter.layout == "official"
    assert {check.id for check in again.report.checks if check.status == "warning"} == {"pair.rope"}


def test_the_files_are_those_of_real_models(trained: LoadedPair, tmp_path: Path) -> None:
    export(trained, tmp_path)
    config = json.loads((tmp_path / "teacher" / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["PanguEmbeddedForCausalLM"]
    assert config["model_type"] == "PanguEmbedded"
    assert "auto_map" not in config
    drafter = load_file(tmp_path / "drafter" / "model.safetensors")
    assert {name.split(".")[0] for name in drafter} == {"midlayer", "fc", "norm", "lm_head", "d2t", "t2d"}
    assert drafter["d2t"].dtype == torch.int64
    assert drafter["t2d"].dtype == torch.bool
    assert torch.equal(drafter["d2t"] + torch.arange(synthetic.VD), synthetic.kept_ids())


def test_what_the_official_layout_cannot_say_is_not_written(trained: LoadedPair, tmp_path: Path) -> None:
    for change in ({"norm_output": True}, {"aux_layers": (1, 2, 3)}):
        pair = replace(trained.pair, drafter=replace(trained.pair.drafter, **change))
        with pytest.raises(ValueError, match="fixed aux layers and no norm flags"):
            export(replace(trained, pair=pair), tmp_path)
    assert not (tmp_path / "drafter").exists()


def test_a_weight_beyond_float16_is_not_written(trained: LoadedPair, tmp_path: Path) -> None:
    weights = dict(trained.pair.teacher_weights) | {"model.norm.weight": torch.full((16,), 1e6)}
    with pytest.raises(ValueError, match=r"model\.norm\.weight does not fit float16"):
        export_teacher(tmp_path, trained.pair.teacher, weights, SPECIAL)
