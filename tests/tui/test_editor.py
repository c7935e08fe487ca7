"""A finding of code that raised shows its frames, and `e` opens the editor there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.tui.driving import Shown, play
from tests.view.traces import finding, write_run
from tracing.errors import EnvironmentProblemError, UsageError
from workbench.tui.app import ViewApp
from workbench.tui.editor import editor_command, find_source
from workbench.view.source_frames import place_of
from workbench.view.targets import SourceTarget

FRAMES = ("port/outer.py:3 in verify: inner()", "port/my kernel.py:7 in inner: raise ValueError('a:1 in b')")


@pytest.fixture
def raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run in `runs/`, made beside the code of a port that raised in step 1."""
    (tmp_path / "port").mkdir()
    for name in ("outer.py", "my kernel.py"):
        (tmp_path / "port" / name).write_text("pass\n" * 9)
    editor = tmp_path / "editor"
    editor.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > "{tmp_path}/opened"\nexit "${{CODE:-0}}"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", f"'{editor}' --wait")
    monkeypatch.setattr(ViewApp, "suspend", lambda _app: nullcontext())
    found = finding(1, "", node=None, rule="RUN-STAGE-RAISED", frames=FRAMES)
    return write_run(tmp_path / "runs" / "one", findings=(found,))


def opened_by(run: Path, keys: Sequence[str], **options: object) -> tuple[Shown, list[str]]:
    shown = play(run, keys, size=(120, 40), **options)
    file = run.parents[1] / "opened"
    return shown, file.read_text().splitlines() if file.exists() else []


def test_e_opens_the_innermost_frame_of_the_finding(raised: Path) -> None:
    shown, opened = opened_by(raised, ["exclamation_mark", "e"])
    assert opened == ["--wait", "+7", str(raised.parents[1] / "port" / "my kernel.py")]
    assert "inner()" in shown.text
    assert "e opens port/my kernel.py:7 in your editor" in shown.text


def test_e_opens_the_frame_under_the_cursor(raised: Path) -> None:
    down = ["j"] * 3
    shown, opened = opened_by(raised, ["exclamation_mark", *down, "e"])
    assert shown.target == SourceTarget("port/outer.py", 3), shown.text
    assert opened[1:] == ["+3", str(raised.parents[1] / "port" / "outer.py")]
    assert opened_by(raised, ["exclamation_mark", *down, "enter"])[1] == opened


def test_what_keeps_the_editor_from_opening_is_said(raised: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "names a line of code" in opened_by(raised, ["e"])[0].said
    monkeypatch.setenv("CODE", "3")
    assert "ended with 3" in opened_by(raised, ["exclamation_mark", "e"])[0].said
    monkeypatch.setenv("VISUAL", "no-such-editor")
    assert "no editor 'no-such-editor'" in opened_by(raised, ["exclamation_mark", "e"])[0].said
    (raised.parents[1] / "port" / "my kernel.py").unlink()
    assert "is not on this machine" in opened_by(raised, ["exclamation_mark", "e"])[0].said
    monkeypatch.undo()
    assert "cannot be lent" in opened_by_headless(raised)


def opened_by_headless(run: Path) -> str:
    (run.parents[1] / "port" / "my kernel.py").write_text("")
    return play(run, ["exclamation_mark", "e"]).said


@pytest.mark.parametrize(
    ("editor", "expected"),
    [
        ("sh", ["+4", "/x/a.py"]),
        ("sh -f", ["-f", "+4", "/x/a.py"]),
        ("code --wait", ["--wait", "--goto", "/x/a.py:4"]),
        ("hx", ["/x/a.py:4"]),
        ("pycharm", ["--line", "4", "/x/a.py"]),
    ],
)
def test_each_editor_is_told_the_line_in_its_own_way(
    editor: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    assert editor_command(Path("/x/a.py"), 4, {"EDITOR": editor})[1:] == expected


def test_an_editor_that_cannot_be_read_or_found_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvironmentProblemError, match="No closing quotation"):
        editor_command(Path("/x"), 1, {"VISUAL": "'vim"})
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(EnvironmentProblemError, match="set EDITOR"):
        editor_command(Path("/x"), 1, {})


@pytest.mark.parametrize("name", ["/dev/zero", "/", "no/such", "a\0b", "-c"])
def test_what_is_no_file_is_never_opened(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not on this machine"):
        find_source(SourceTarget(name, 1), [tmp_path])


def test_a_frame_is_read_as_it_was_written() -> None:
    assert place_of(FRAMES[1]) == SourceTarget("port/my kernel.py", 7)
    assert place_of("C:\\port\\a.py:12 in f") == SourceTarget("C:\\port\\a.py", 12)
    assert place_of("<string>:1 in <module>") == SourceTarget("<string>", 1)
    assert place_of("nonsense") is None
