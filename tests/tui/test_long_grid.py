"""A grid larger than the screen: its numbers stay in sight, cut lines say so, the mouse hits its cells."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot

from tests.tui.driving import play, run_screen, screen_text, settle
from tests.view.columns import step_columns
from tests.view.traces import finding, write_run
from tracing.recorder import open_trace
from workbench.tui.app import ViewApp
from workbench.tui.screens.run import RunScreen
from workbench.tui.widgets.line_view import SIDEWAYS
from workbench.view.run_view import RunView
from workbench.view.targets import CellTarget

QUERY, KEY = 55, 50


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One step of sixty nodes; node 55 sees node 50, which is no ancestor of it."""
    folder = tmp_path_factory.mktemp("runs") / "wide"
    columns = step_columns(0, 60)
    visible = columns["visible"].copy()
    assert not visible[QUERY, KEY]
    visible[QUERY, KEY] = True
    with (
        open_trace(folder, manifest={"verdict": "structural"}) as trace,
        trace.step(prompt_id=0, turn=0, step=0) as step,
    ):
        step.record(**(columns | {"visible": visible}))
    return folder


def panel_lines(text: str) -> list[str]:
    """The lines inside the border of the panel, cut out of the screen."""
    return [line.rpartition("││")[2] for line in text.splitlines() if "││" in line]


def test_numbers_of_queries_and_keys_stay_beside_a_cell_far_out(wide: Path) -> None:
    shown = play(wide, ["m", "G", *["k"] * 4, *["l"] * 51])
    assert shown.target == CellTarget(QUERY, KEY)
    first, second, *rows = panel_lines(shown.text)
    at = next(row for row in rows if row.startswith(f"!   {QUERY}")).index("L")
    assert (first[at], second[at]) == ("5", "0"), shown.text
    assert "leaked: node 55" in shown.text


def test_w_goes_from_one_wrong_cell_to_the_next(tmp_path: Path) -> None:
    """And back; where there is none further it says so and stays."""
    visible = step_columns(0)["visible"].copy()
    wrong = [(query, key) for query in (5, 7) for key in range(8) if query != key and not visible[query, key]]
    for query, key in wrong[:1] + wrong[-1:]:
        visible[query, key] = True
    run = write_run(tmp_path / "run", 1, changes={0: {"visible": visible}})
    first, last = CellTarget(*wrong[0]), CellTarget(*wrong[-1])
    seen = [play(run, ["m", *["w"] * times]) for times in (1, 2, 3)]
    assert [shown.target for shown in seen] == [first, last, last]
    assert "nothing marked wrong after" in seen[2].said
    assert play(run, ["m", "w", "w", "W"]).target == first


def test_a_line_that_is_cut_says_so(wide: Path) -> None:
    shown = play(wide, ["m", "G"])
    assert panel_lines(shown.text)[-1].rstrip("│ ").endswith("»")
    scrolled = play(wide, ["m", "G", *["l"] * 62])
    assert "«" in panel_lines(scrolled.text)[-1]


def test_the_mouse_hits_the_cell_it_points_at_in_a_scrolled_grid(wide: Path) -> None:
    async def clicked(pilot: Pilot[None], app: ViewApp) -> object:
        lines = screen_text(app).splitlines()
        y = next(number for number, line in enumerate(lines) if f"!   {QUERY}" in line)
        await pilot.click(offset=(lines[y].index("L"), y))
        await settle(app, pilot)
        return run_screen(app).active_slot.target

    async def run() -> object:
        app = ViewApp(RunView(wide))
        async with app.run_test(size=(80, 24)) as pilot:
            await settle(app, pilot)
            for key in ["m", "G", *["l"] * 60]:
                await pilot.press(key)
            await settle(app, pilot)
            return await clicked(pilot, app)

    assert asyncio.run(run()) == CellTarget(QUERY, KEY)


def test_the_wheel_scrolls_sideways(wide: Path) -> None:
    def turned(screen: RunScreen) -> list[int]:
        panel, seen = screen.active_slot, []
        for kind in (events.MouseScrollRight, events.MouseScrollLeft):
            event = kind(panel, 0, 0, 0, 0, 0, False, False, False)
            getattr(panel, event.handler_name)(event)
            seen.append(panel.scroll_offset.x)
        return seen

    assert play(wide, ["m"], ask=turned).asked == [SIDEWAYS, 0]


def test_the_key_bar_is_clicked_like_its_keys(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", findings=(finding(2, "parents", node=3),))

    async def run() -> str:
        app = ViewApp(RunView(folder))
        async with app.run_test(size=(80, 24)) as pilot:
            await settle(app, pilot)
            bar = screen_text(app).splitlines()[-1]
            await pilot.click(offset=(bar.index("first"), 23))
            await settle(app, pilot)
            return str(run_screen(app).model.step.moment)

    assert asyncio.run(run()) == "0:0:2"


def test_a_run_that_nobody_judged_leads_to_its_wrong_cell_by_one_key(tmp_path: Path) -> None:
    columns = {name: step_columns(0)[name] for name in ("token_ids", "parents", "valid", "visible", "depths")}
    wrong = columns["visible"].copy()
    wrong[5, 6] = True
    with open_trace(tmp_path / "run") as trace:
        for number in range(3):
            with trace.step(prompt_id=number, turn=0, step=0) as step:
                step.record(**(columns | ({"visible": wrong} if number == 2 else {})))
    assert "K checks it" in play(tmp_path / "run", ["exclamation_mark"]).said
    shown = play(tmp_path / "run", ["K"])
    assert (shown.moment, shown.target) == ("2:0:0", CellTarget(5, 6))
    assert "not found from here on" in play(tmp_path / "run", ["K", "K"]).said
