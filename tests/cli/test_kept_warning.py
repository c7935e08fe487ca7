"""Acceptance that contradicts the drafter is told by every command that speaks of the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from tests.cli.conftest import Specwb
from tracing.reader import open_run
from workbench.judge import calibration

SENTENCE: Final = "the drafter's own probabilities expect"


def test_it_stays_with_the_run(specwb: Specwb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "CHANCE", 2.0)  # any acceptance at all is suspected
    monkeypatch.setattr(calibration, "SHARE", 100.0)
    (tmp_path / "prompt.txt").write_text("The river runs past the old mill and")
    run = tmp_path / "run"
    few = ("--max-new-tokens", "8", "--tree-nodes", "8", "--depth", "2", "--top-k", "3")
    done = specwb("diff", "--prompt", tmp_path / "prompt.txt", "--out", run, *few, "--format", "json")
    warnings = json.loads(done.out)["warnings"]
    assert [SENTENCE in each for each in warnings] == [True]
    assert open_run(run).manifest["warnings"] == warnings
    for command in (("check",), ("replay",), ("view", "--text")):
        assert SENTENCE in specwb(*command, run).out, command
    assert json.loads(specwb("check", run, "--format", "json").out)["runs"][0]["warnings"] == warnings


def test_a_clean_run_has_none(specwb: Specwb, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("The river runs past the old mill and")
    few = ("--max-new-tokens", "8", "--tree-nodes", "8", "--depth", "2", "--top-k", "3")
    specwb("diff", "--prompt", tmp_path / "prompt.txt", "--out", tmp_path / "run", *few)
    assert open_run(tmp_path / "run").manifest["warnings"] == []
