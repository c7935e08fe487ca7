"""Small mistakes in bfloat16: each passes row by row, and is named over the run; clean runs are silent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.lockstep.runs import Outcome, Setup, run
from tests.pairs import tiny_pair
from tracing.stages import Stages, Verified
from workbench.lockstep.staged import leanings

SETUP = Setup(pair=tiny_pair(3, head_dim=16), dtype="bfloat16", options={"repeat": False})
LONG = replace(SETUP, settings=replace(SETUP.settings, max_new_tokens=48))


def leans(outcome: Outcome) -> list[str]:
    return [each.message for each in outcome.log.findings if each.rule == "JUDGE-LEANING"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_clean_runs_are_silent(tmp_path: Path, dtype: str) -> None:
    outcome = run(tmp_path / "run", replace(LONG, dtype=dtype))
    assert outcome.first is None


def test_a_temperature_of_nine_tenths_in_verify(tmp_path: Path) -> None:
    """Its choices are right; no row is off by more than rounding may do."""

    def faulty(stages: Stages) -> Stages:
        def verify(*given: Any) -> Verified:
            made = stages.verify(*given)
            return replace(made, logits=(made.logits.float() / 0.9).to(torch.bfloat16))

        return replace(stages, verify=verify)

    outcome = run(tmp_path / "run", LONG, fused=faulty)
    first = outcome.first
    assert first is not None
    assert first.moment.stage == "verify"
    assert first.rule != "JUDGE-LEANING" or "temperature 0.9" in first.message


def test_of_a_large_model_some_steps_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leanings, "LARGE_MODEL", 0)
    monkeypatch.setattr(leanings, "OF_LARGE", 4)
    outcome = run(tmp_path / "run", LONG)
    measured = outcome.staged.judge.leanings
    assert outcome.first is None
    assert measured.seen == outcome.staged.finished[0].step > 4
    assert measured.steps == -(-measured.seen // 4)


def test_float32_needs_no_leaning(tmp_path: Path) -> None:
    outcome = run(tmp_path / "run", replace(LONG, dtype="float32"))
    assert outcome.staged.judge.leanings.steps == 0
    assert leans(outcome) == []
