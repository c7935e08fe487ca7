"""The script's own computation of each stage: silent on a clean path, loud where one number is changed."""

from __future__ import annotations

import importlib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.locate.subjects import subject_of
from tracing.finding import Finding
from tracing.moment import STAGES, Moment
from workbench.faults.bench import tiny_bench
from workbench.faults.experiment import Setup
from workbench.faults.tiny import token_bytes
from workbench.reduce.case import RunCase
from workbench.reduce.evidence import StageEvidence, evidence_of
from workbench.reduce.folder import for_script
from workbench.reduce.models import read_pair, write_pair
from workbench.reduce.plain import comparing, models
from workbench.reduce.plain.stage_verify import found_rows

DRAFTS = ("plain", "medusa", "draft_model", "lookup", "windows")
PLACES = [
    *((stage, "plain") for stage in STAGES),
    ("accept", "sampled"),
    *(("draft", need) for need in DRAFTS[1:]),
]


def small(need: str) -> Setup:
    setup = tiny_bench().setup(need)
    return replace(setup, settings=replace(setup.settings, max_new_tokens=8))


@cache
def shown(stage: str, need: str, dtype: str = "float32") -> tuple[StageEvidence, dict[str, Any]]:
    setup = replace(small(need), dtype=dtype)
    subject = subject_of(setup)
    step = 0 if stage == "prefill" else 1
    finding = Finding("numeric", "fused", Moment(0, 0, step, stage), "any", rule="RULE", message="wrong")
    evidence = evidence_of(subject, finding)
    case = RunCase(turns=(setup.prompt,), settings=setup.settings, dtype=dtype)
    return evidence, for_script(subject, case, finding, evidence)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    need = request.node.callspec.params.get("need", "plain") if hasattr(request.node, "callspec") else "plain"
    write_pair(tmp_path, tiny_bench().setup(need).pair, token_bytes, {1, 2})
    monkeypatch.setattr(models, "HERE", tmp_path)
    return tmp_path


def compared(
    stage: str, told: dict[str, Any], inputs: dict[str, Tensor], found: dict[str, Tensor]
) -> set[str]:
    expected = importlib.import_module(f"workbench.reduce.plain.stage_{stage}").expected
    own = getattr(torch, told["dtype"])
    exact, rounded = (expected(told, inputs, own, wide) for wide in (torch.float64, own))
    kept = found_rows(inputs, found) if stage == "verify" else found
    assert set(exact) <= set(kept) or stage == "draft"  # no record of a search
    return {name for name in exact if comparing.compare(name, kept[name], exact[name], rounded[name])}


@pytest.mark.parametrize(("stage", "need"), PLACES)
def test_a_clean_stage_is_what_its_inputs_give(stage: str, need: str) -> None:
    evidence, told = shown(stage, need)
    assert not evidence.missing
    assert evidence.operator is None
    assert not compared(stage, told, evidence.inputs, evidence.found)


@pytest.mark.parametrize(("stage", "need"), PLACES)
def test_every_number_that_is_changed_is_seen(stage: str, need: str) -> None:
    evidence, told = shown(stage, need)
    for name, tensor in evidence.found.items():
        if not tensor.numel() or (need == "lookup" and name == "parents"):
            continue
        changed = tensor.clone().reshape(-1)
        changed[0] = ~changed[0] if tensor.dtype == torch.bool else changed[0] + 1
        spoiled = {**evidence.found, name: changed.reshape(tensor.shape)}
        is_drawn = need == "sampled" and name != "target_probs"  # chance has no second derivation
        assert compared(stage, told, evidence.inputs, spoiled) == (set() if is_drawn else {name})


def test_half_precision_is_no_difference() -> None:
    evidence, told = shown("verify", "plain", "bfloat16")
    assert not compared("verify", told, evidence.inputs, evidence.found)


def test_a_pair_comes_back_from_its_folder(folder: Path) -> None:
    pair = tiny_bench().setup("plain").pair
    read, text = read_pair(str(folder))
    assert (read.teacher, read.drafter, read.proposer) == (pair.teacher, pair.drafter, pair.proposer)
    assert all(torch.equal(read.teacher_weights[name], each) for name, each in pair.teacher_weights.items())
    assert torch.equal(read.target_from_draft, pair.target_from_draft)
    assert text(1) == token_bytes(1)


def test_keys_and_values_are_compared_by_row(capsys: pytest.CaptureFixture[str]) -> None:
    exact = torch.ones(2, 2, 1, 5, 4)
    found = exact.clone()
    found[1, 0, 0, 3, 2] = 9
    assert comparing.compare("kv", found, exact.double(), exact)
    assert "row 3:" in capsys.readouterr().out


def test_not_a_number_differs() -> None:
    exact = torch.ones(2, 3)
    found = exact.clone()
    found[1, 2] = float("nan")
    assert comparing.compare("x", found, exact.double(), exact)
    assert comparing.compare("x", exact[:1], exact.double(), exact)
    assert not comparing.compare("x", exact, exact.double(), exact)
