"""`specwb diff --tui`: the run's result and what it raises come back, whatever the screen does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.cli.diff import watched
from workbench.tui import app


@pytest.fixture(name="screen")
def _screen(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    seen: list[bool] = []

    def follow(_folder: Path, *, alive: Callable[[], bool]) -> None:
        seen.append(alive())

    monkeypatch.setattr(app, "follow", follow)
    return seen


def test_the_result_comes_back_after_the_screen(screen: list[bool], tmp_path: Path) -> None:
    assert watched(lambda: 7, tmp_path) == 7
    assert len(screen) == 1


def test_what_the_run_raised_comes_back(screen: list[bool], tmp_path: Path) -> None:
    def broken() -> int:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        watched(broken, tmp_path)
    assert len(screen) == 1


def test_leaving_the_screen_says_that_the_run_goes_on(
    screen: list[bool], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = threading.Event()

    def slow() -> int:
        left.wait(5)
        return 7

    timer = threading.Timer(0.2, left.set)
    timer.start()
    assert watched(slow, tmp_path) == 7
    assert screen == [True]
    assert f"the run goes on in {tmp_path}" in capsys.readouterr().err
