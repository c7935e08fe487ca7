"""Steps before the first recorded one of a turn are lost where every step was declared, and only there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Specwb
from tests.cli.recorded import LIMITS, SETTINGS, legal_rows, record
from tracing.recorder import RunWriter
from tracing.recording_plan import RecordingPlan

FACTS = {"settings": SETTINGS, "limits": LIMITS}
RING, WHOLE = RecordingPlan(open_start=True), RecordingPlan()


def share_of(
    specwb: Specwb, folder: Path, plan: RecordingPlan | None, *, first: int, every: int = 1
) -> tuple[int, dict[str, Any]]:
    """Record turns from a step on; return the exit code of `check` and the share of steps."""
    rows = [row for row in legal_rows(60) if row["step"] >= first and row["step"] % every == 0]
    with RunWriter(folder, FACTS | (plan.as_manifest() if plan else {})) as writer:
        record(writer.path("fused"), rows)
    done = specwb("check", folder, "--format", "json")
    share = json.loads(done.out)["runs"][0]["share"]["steps"]
    assert share["num"] == len(rows)
    return done.exit_code, share


@pytest.mark.parametrize("plan", [RING, None])
def test_a_ring_is_a_whole(specwb: Specwb, tmp_path: Path, plan: RecordingPlan | None) -> None:
    code, share = share_of(specwb, tmp_path / "run", plan, first=4)
    assert (code, share["num"]) == (0, share["of"])


def test_a_late_start_is_missed_where_every_step_was_declared(specwb: Specwb, tmp_path: Path) -> None:
    assert share_of(specwb, tmp_path / "whole", WHOLE, first=0)[0] == 0
    code, share = share_of(specwb, tmp_path / "late", WHOLE, first=4)
    turns = len({row["prompt_id"] for row in legal_rows(60) if row["step"] >= 4})
    assert (code, share["of"] - share["num"]) == (4, 4 * turns)


def test_every_second_step_of_a_ring(specwb: Specwb, tmp_path: Path) -> None:
    ring = RecordingPlan(every=2, open_start=True)
    assert share_of(specwb, tmp_path / "ring", ring, first=4, every=2)[0] == 0
    late = share_of(specwb, tmp_path / "late", RecordingPlan(every=2), first=4, every=2)
    assert (late[0], late[1]["of"] > late[1]["num"]) == (4, True)


def test_a_slice_of_a_declared_run_counts_what_it_left_once(specwb: Specwb, tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run", FACTS | WHOLE.as_manifest()) as writer:
        rows = [row for row in legal_rows(60) if row["prompt_id"] == 0]
        record(writer.path("fused"), rows)
    last = f"0:0:{len(rows) - 1}"
    specwb("trace", "slice", tmp_path / "run", tmp_path / "part", "--first", "0:0:1", "--last", last)
    share = json.loads(specwb("check", tmp_path / "part", "--format", "json").out)["runs"][0]["share"]
    assert share["steps"] == {"num": len(rows) - 1, "of": len(rows)}
