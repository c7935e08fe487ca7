"""Every second check holds on a good pair and has been seen to fail on the fault it is for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints import synthetic
from tracing.errors import CheckpointError, UsageError
from tracing.models import RopeConfig
from workbench.checkpoints import checks, load
from workbench.checkpoints.aux_ids import AuxLayers
from workbench.checkpoints.load import LoadedPair, load_pair
from workbench.checkpoints.report import Check
from workbench.checkpoints.teacher import read_eos


@pytest.fixture(scope="module")
def loaded(llama_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedPair:
    return load_pair(llama_dir, synthetic.official(tmp_path_factory.mktemp("pair") / "draft"))


def test_a_good_pair_has_no_failed_check(loaded: LoadedPair) -> None:
    assert {check.id: check.sentence for check in loaded.report.checks if check.status != "ok"} == {}
    assert loaded.report.status == "ok"
    assert len({check.id for check in loaded.report.checks}) == len(loaded.report.checks) == 29


def test_the_report_is_plain_json_and_readable_text(loaded: LoadedPair) -> None:
    data = json.loads(json.dumps(loaded.report.as_json()))
    assert data["status"] == "ok"
    assert data["drafter"]["missing"] == ["embed_tokens.weight (the teacher's is used)"]
    assert data["teacher"]["rope"]["theta"] == 10000.0
    text = "\n".join(loaded.report.lines())
    for word in ("aux layers  [2, 4, 5]", "offset", "eos ids     [2]", "float32 x", "drafter.d2t"):
        assert word in text


BREAKS: dict[str, Callable[[LoadedPair], Check]] = {
    "teacher.parameters": lambda one: checks.teacher_parameters(
        replace(one.pair.teacher, num_layers=7), one.pair.teacher_weights
    ),
    "teacher.layers_differ": lambda one: checks.layer_order(
        {
            f"model.layers.{i}.self_attn.q_proj.weight": one.pair.teacher_weights[
                f"model.layers.{max(i, 1)}.self_attn.q_proj.weight"
            ]
            for i in range(8)
        }
    ),
    "drafter.finite": lambda _: checks.finite("drafter", {"norm.weight": torch.tensor([1.0, float("inf")])}),
    "drafter.aux_layers": lambda one: checks.aux_layers(
        one.pair.drafter, AuxLayers((2, 4, 5), "", "a guess"), 8
    ),
    "drafter.fc_width": lambda one: checks.fc_width(
        one.pair.drafter_weights, replace(one.pair.teacher, hidden_size=8)
    ),
    "teacher.rope": lambda one: checks.rope_frequencies(
        "teacher", RopeConfig(theta=1e4), {"rope_parameters": {"rope_theta": 1e6}}
    ),
    "drafter.config": lambda _: checks.config_doubts("drafter", ("a key",)),
    "drafter.config_keys": lambda _: checks.config_keys("drafter", ("a key",)),
    "pair.rope": lambda one: checks.rope_pair(one.pair.teacher.rope, RopeConfig(theta=1e6)),
    "pair.eos": lambda _: checks.eos(read_eos({"eos_token_id": 2}, {"eos_token_id": [3]}, 2, 300)),
    "pair.embedding": lambda _: checks.embeddings(torch.ones(2, 2), torch.zeros(2, 2), own=True),
    "teacher.unexpected": lambda _: checks.unexpected("teacher", ("model.extra.weight",)),
    "teacher.dtypes": lambda _: checks.dtypes(
        "teacher", {"a": torch.ones(1), "b": torch.ones(1, dtype=torch.float16)}
    ),
    "pair.tokenizer": lambda _: checks.tokenizer_size(301, 300),
    "drafter.t2d": lambda _: checks.t2d_present(confirmed=False, ambiguous=True, convention="offset"),
    "drafter.parameters": lambda one: checks.drafter_parameters(
        one.pair.drafter, one.pair.drafter_weights, {"fc.weight": torch.ones(3)}, 0
    ),
}


@pytest.mark.parametrize("check_id", BREAKS)
def test_each_check_sees_its_fault(loaded: LoadedPair, check_id: str) -> None:
    check = BREAKS[check_id](loaded)
    assert check.id == check_id
    assert check.status in ("warning", "failed")


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param([5, 5, 9], id="twice"),
        pytest.param([5, 4, 9], id="unsorted"),
        pytest.param([5, 6, 300], id="out-of-range"),
        pytest.param([5, 6], id="fewer-than-rows"),
        pytest.param([5, 6, 10], id="not-the-ids-of-t2d"),
    ],
)
def test_the_law_of_d2t_sees_each_way_to_break_it(ids: list[int]) -> None:
    """Independent of the loader: a mapping used as offset where it is absolute ends here too."""
    t2d = torch.zeros(300, dtype=torch.bool).index_fill(0, torch.tensor([5, 6, 9]), value=True)
    assert checks.d2t_law(torch.tensor([5, 6, 9]), t2d, 3, 300).status == "ok"
    assert checks.d2t_law(torch.tensor([5, 6, 9]), None, 3, 300).status == "ok"
    assert checks.d2t_law(torch.tensor(ids), t2d, 3, 300).status == "failed"


def test_a_dropped_rope_key_is_seen_on_disk(teacher_dir: Path, draft_dir: Path) -> None:
    synthetic.edit_json(draft_dir / "config.json", rope_theta=1e6)
    warned = [check for check in load_pair(teacher_dir, draft_dir).report.checks if check.status != "ok"]
    assert [check.id for check in warned] == ["pair.rope"]
    synthetic.edit_json(draft_dir / "config.json", rope_theta=...)
    warned = [check for check in load_pair(teacher_dir, draft_dir).report.checks if check.status != "ok"]
    assert [check.id for check in warned] == ["drafter.rope"]


def test_another_rope_kind_at_the_same_theta_is_seen(teacher_dir: Path, draft_dir: Path) -> None:
    """The kind, not only theta: a scaling that one of the two models lacks."""
    scaled = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}
    synthetic.edit_json(draft_dir / "config.json", rope_parameters=scaled, rope_theta=...)
    loaded = load_pair(teacher_dir, draft_dir)
    warned = [check for check in loaded.report.checks if check.status != "ok"]
    assert [check.id for check in warned] == ["pair.rope"]
    assert warned[0].sentence == ("rope of drafter: linear, theta 10000; of teacher: default, theta 10000")
    data = loaded.report.as_json()
    assert (data["teacher"]["rope"]["kind"], data["drafter"]["rope"]["kind"]) == ("default", "linear")
    assert "rope: theta 10000.0, kind linear, factor 2.0" in "\n".join(loaded.report.lines())


def test_a_kind_of_drafter_without_a_checkpoint_needs_no_directory(
    teacher_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"proposer should be one of eagle3.*, got 'nothing'"):
        load_pair(teacher_dir, None, proposer="nothing")
    with pytest.raises(UsageError, match="proposer eagle3 needs a drafter's checkpoint"):
        load_pair(teacher_dir, None)
    monkeypatch.setattr(load, "LOADERS", {**load.LOADERS, "lookup": None})
    loaded = load_pair(teacher_dir, None, proposer="lookup")
    assert loaded.pair.drafter is None
    assert (loaded.pair.proposer, loaded.pair.feature_width) == ("lookup", 0)
    assert loaded.report.status == "ok"
    assert loaded.report.as_json()["drafter"] is None
    assert not any(line.startswith(("drafter", "aux layers", "d2t")) for line in loaded.report.lines())


def test_eos_of_generation_config_wins_and_disagreement_is_said(teacher_dir: Path, draft_dir: Path) -> None:
    synthetic.edit_json(teacher_dir / "generation_config.json", eos_token_id=[2, 7])
    loaded = load_pair(teacher_dir, draft_dir)
    assert loaded.pair.eos_token_ids == frozenset({2, 7})
    assert loaded.report.status == "ok"
    synthetic.edit_json(teacher_dir / "generation_config.json", eos_token_id=7)
    other = load_pair(teacher_dir, draft_dir)
    assert other.pair.eos_token_ids == frozenset({7})
    assert [check.id for check in other.report.checks if check.status == "warning"] == ["pair.eos"]


def test_unknown_tensors_are_listed_not_dropped_in_silence(teacher_dir: Path, draft_dir: Path) -> None:
    synthetic.edit_weights(draft_dir, mystery__weight=torch.ones(2))
    report = load_pair(teacher_dir, draft_dir).report
    assert report.drafter.unexpected == ("mystery.weight",)
    assert {check.id for check in report.checks if check.status == "warning"} == {
        "drafter.unexpected",
        "drafter.parameters",
    }


def test_too_many_tokens_for_the_embedding_are_refused(tmp_path: Path, draft_dir: Path) -> None:
    synthetic.hf_teacher(tmp_path / "small")
    path = tmp_path / "small" / "tokenizer.json"
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    data["model"]["vocab"] |= {f"word{i}": 290 + i for i in range(20)}
    synthetic.write_json(path, data)
    with pytest.raises(CheckpointError, match="the tokenizer needs 310 rows; the teacher embeds 300"):
        load_pair(tmp_path / "small", draft_dir)
