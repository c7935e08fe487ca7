"""`specwb view` without a terminal: text for an issue, and one sentence for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.view.traces import finding, leaked, write_run
from tracing.errors import UsageError
from tracing.moment import Moment
from workbench.cli.run import run_command
from workbench.cli.view import parse_places


def test_a_moment_is_printed_with_every_panel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes, (query, key) = leaked()
    folder = write_run(tmp_path / "run", changes=changes)
    assert run_command(["view", str(folder), "0:0:1", "--text"]) == 0
    text = capsys.readouterr().out
    for panel in (
        "findings",
        "tree",
        "visible",
        "logits",
        "acceptance",
        "cache",
        "distance",
        "stages",
        "rules",
    ):
        assert f"── {panel} ─" in text
    assert f"node {query} sees node {key}" in text
    assert "over the run, 3 steps" in text


def test_without_a_moment_the_first_finding_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path / "run", findings=(finding(2),))
    assert run_command(["view", str(folder), "--text", "--panel", "findings"]) == 0
    assert " 0:0:2 " in capsys.readouterr().out.splitlines()[0]


def test_one_panel_alone_may_be_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "run")
    run_command(["view", str(folder), "0:0:0", "--text", "--panel", "tree", "--differences"])
    text = capsys.readouterr().out
    assert "no node differs" in text
    assert "── visible" not in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["view", "--text"], "need a run"),
        (["view", "nowhere", "--text"], "nowhere is no folder"),
        (["view", "0:0:1"], "needs a run before the moment"),
        (["view", ".", "--text"], "no recorded run"),
    ],
)
def test_a_mistake_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(arguments) == 2
    said = capsys.readouterr()
    assert sentence in said.err
    assert said.out == ""


def test_a_step_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["view", str(write_run(tmp_path / "run")), "0:0:77", "--text"]) == 2
    assert "no step 0:0:77" in capsys.readouterr().err


def test_without_a_terminal_the_screen_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["view", str(write_run(tmp_path / "run"))]) == 3
    assert "--text" in capsys.readouterr().err


def test_a_folder_named_like_a_moment_is_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("12").mkdir()
    assert parse_places(("12",)).run == Path("12")
    assert parse_places(("12", "12:0:3")).moment == Moment(12, 0, 3)
    with pytest.raises(UsageError, match="at most two runs"):
        parse_places((".", ".", "."))
