"""`specwb locate`: what it prints and returns."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Specwb
from tests.cli.replaying import Recorded


def test_a_fault_is_located(specwb: Specwb, recorded: Recorded, tmp_path: Path) -> None:
    models = recorded.models
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("hello there")
    common = ("locate", "--prompt", prompt, *models, "--max-new-tokens", 4, "--tree-nodes", 8, "--top-k", 3)
    faults = ("--fault", "next-kv-head", "--fault", "gate-and-up-exchanged")
    answer = specwb(*common, *faults, "--out", tmp_path / "run")
    assert answer.exit_code == 1, answer.err
    assert "located     attention of the teacher, layers 0, 1, 2, 3, 4, 5" in answer.out
    assert "and         swiglu of the teacher, layers 0, 1, 2, 3, 4, 5" in answer.out
    assert "teacher.layers.0.attention: every position" in answer.out
    clean = specwb(*common, "--format", "json", "--out", tmp_path / "clean")
    assert clean.exit_code == 0, clean.err
    assert json.loads(clean.out)["located"] is None


def test_swapping_names_no_operator_where_a_stage_is_wrong(
    specwb: Specwb, recorded: Recorded, tmp_path: Path
) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("hello there")
    common = (
        "locate",
        "--prompt",
        prompt,
        *recorded.models,
        "--max-new-tokens",
        2,
        "--fault",
        "sibling-leak",
    )
    answer = specwb(*common, "--swap", "--format", "json", "--out", tmp_path / "run")
    assert answer.exit_code == 1, answer.err
    found = json.loads(answer.out)
    assert {row["name"] for row in found["swap"]["rows"]} >= {"everything", "attention", "prefill", "draft"}
    assert found["swap"]["mending"] == []
    assert "share" in found["swap"]["conclusion"]
    assert found["ways"] is None


def test_a_port_that_takes_no_eager_is_not_swapped(
    specwb: Specwb, recorded: Recorded, tmp_path: Path
) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("hello there")
    port = ("--fused", "examples.cache_port:factory", "--eager", "norm")
    answer = specwb("locate", "--prompt", prompt, *recorded.models, *port)
    assert answer.exit_code == 2
    assert "takes no keyword argument eager" in answer.err


def test_a_recorded_run_without_a_wrong_token_has_no_symptom(specwb: Specwb, recorded: Recorded) -> None:
    answer = specwb("locate", recorded.run, *recorded.models, "--format", "json")
    assert answer.exit_code == 0, answer.err
    found = json.loads(answer.out)
    assert found["symptom"] is found["traced"] is None
    assert found["judged_tokens"] > 4
    unseen = specwb("locate", recorded.run, "--no-rerun")
    assert unseen.exit_code == 4
    assert "was not judged" in unseen.out


def test_a_step_of_a_recorded_run_is_traced_by_its_digests_alone(
    specwb: Specwb, recorded: Recorded, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(recorded.run, copy)
    answer = specwb("locate", copy, "--at", "0:0:1", "--no-rerun")
    assert answer.exit_code == 1, answer.err
    assert "every committed row is the one that was written for it" in answer.out
    shown = specwb("view", copy, "0:0:1", "--text", "--panel", "chain")
    assert "asked for; no finding is recorded there" in shown.out


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ((), "give a recorded RUN, or --prompt"),
        (("RUN", "--prompt", "x.txt"), "not both"),
        (("RUN", "--tree-nodes", 4), "--tree-nodes is for a run that is made now"),
        (("RUN", "--swap"), "--swap is for a run that is made now"),
        (("RUN", "--at", "0:0:9:nowhere"), "stages are"),
        (("RUN", "--at", "0:0:999"), "has no step 0:0:999"),
        (("--prompt", "x.txt", "--at", "0"), "in a recorded RUN"),
    ],
)
def test_what_cannot_be_located(
    specwb: Specwb, recorded: Recorded, typed: tuple[Any, ...], words: str
) -> None:
    answer = specwb("locate", *(recorded.run if each == "RUN" else each for each in typed))
    assert answer.exit_code == 2
    assert words in answer.err


def test_two_faults_in_stages_are_refused(specwb: Specwb, recorded: Recorded, tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("hello there")
    faults = ("--fault", "stale-drafter-cache", "--fault", "drafter-cache-too-long")
    answer = specwb("locate", "--prompt", prompt, *recorded.models, *faults, "--out", tmp_path / "run")
    assert answer.exit_code == 2
    assert "on top of another fault" in answer.err
    automatic = specwb("locate", "--prompt", prompt, "--proposer", "auto")
    assert automatic.exit_code == 2
