"""The list of runs to choose from."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.tui.driving import run_screen, screen_text, settle
from tests.view.traces import write_run
from workbench.tui.app import ViewApp


def test_the_picker_opens_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "runs" / "one")
    monkeypatch.chdir(tmp_path)

    async def run() -> None:
        app = ViewApp()
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
            assert "one" in screen_text(app)
            await pilot.press("enter")
            await settle(app, pilot)
            assert run_screen(app).model.view.num_rows == 3

    asyncio.run(run())


@pytest.mark.parametrize("key", ["q", "escape"])
def test_the_picker_without_runs_says_so_and_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.chdir(tmp_path)

    async def run() -> None:
        app = ViewApp()
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
            assert "no run in" in screen_text(app)
            await pilot.press("enter", key)

    asyncio.run(run())
