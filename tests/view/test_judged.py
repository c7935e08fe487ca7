"""The screen states a verdict with what it rests on, as `check` does, and none that nobody earned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.recorded import write_run
from tracing.copying import repair_run
from tracing.reader import open_run
from workbench.judge.recorded.check import check_run
from workbench.view.condition import nothing_found
from workbench.view.lines import plain_text
from workbench.view.page import page_lines
from workbench.view.run_view import RunView
from workbench.view.step import ViewOptions
from workbench.view.violation import check_onwards, check_whole

OK: dict[str, Any] = {"verdict": "ok", "remark": "rests on 6 of 6 steps, 5 of 5 stages"}


def judged_run(folder: Path, num_steps: int = 6, **facts: Any) -> Path:
    return write_run(folder, num_steps, manifest=OK | facts)


def test_an_ok_is_stated_with_its_share(tmp_path: Path) -> None:
    judged = RunView(judged_run(tmp_path / "run")).judged()
    assert judged.text == "nothing was found in this run: ok (rests on 6 of 6 steps, 5 of 5 stages)"
    assert judged.is_good


def test_an_inconclusive_run_says_why() -> None:
    told = nothing_found({"verdict": "inconclusive", "remark": "only 9 of 86 steps were judged"})
    assert told.text.endswith("inconclusive: only 9 of 86 steps were judged")
    assert not told.is_good


def test_what_was_lost_since_makes_no_ok(tmp_path: Path) -> None:
    run = judged_run(tmp_path / "run", 100)
    stream = run / "fused.arrows"
    stream.write_bytes(stream.read_bytes()[: open_run(run).path("fused").stream.batches[1].stop - 50])
    repair_run(run, tmp_path / "repaired")
    for folder in (run, tmp_path / "repaired"):
        judged = RunView(folder).judged()
        assert "the run is inconclusive" in judged.text
        assert not judged.is_good
    assert "only 64 of 100 steps of fused are there" in RunView(tmp_path / "repaired").judged().text


@pytest.mark.parametrize("key", ["origins", "recording"])
def test_forged_facts_are_a_doubt(tmp_path: Path, key: str) -> None:
    run = judged_run(tmp_path / "run", **{key: 3})
    assert f"inconclusive: {key} of the manifest" in RunView(run).judged().text


def test_a_check_that_finds_nothing_says_what_check_says(tmp_path: Path) -> None:
    view = RunView(write_run(tmp_path / "run", 10))
    assert check_onwards(view, -1, lambda _: True) is None
    checked = check_run(tmp_path / "run")
    assert check_whole(view).text == f"check of the whole run: ok ({checked.remark})"
    assert "rests on 10 of 10 steps" in view.judged().text
    assert view.step(0).judged.is_good
    view.refresh()
    assert view.judged().is_good  # nothing has changed


def test_a_check_of_too_little_is_no_ok(tmp_path: Path) -> None:
    def lost(row: Any) -> Any:
        return row | {"visible": None} if row["step"] > 3 else row

    judged = check_whole(RunView(write_run(tmp_path / "run", 40, change=lost)))
    assert "inconclusive (only" in judged.text
    assert not judged.is_good


def test_a_printed_moment_states_it(tmp_path: Path) -> None:
    view = RunView(judged_run(tmp_path / "run"))
    assert "ok (rests on 6 of 6 steps" in plain_text(page_lines(view, view.step(0), ViewOptions()))
