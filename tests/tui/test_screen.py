"""What a person does on the screen: find the wrong cell, go along a live run, resize."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from textual.app import SystemCommand
from textual.color import Color

from tests.tui.conftest import CELL
from tests.tui.driving import play, play_each, run_screen, settle
from tests.view.traces import finding, write_run
from tracing.recorder import RunWriter
from workbench.tui.app import ViewApp
from workbench.tui.keys import RUN_KEYS
from workbench.tui.screens.run import RunScreen
from workbench.tui.widgets.panel_view import PanelView
from workbench.tui.widgets.timeline_view import TimelineView
from workbench.view.history import History, Location
from workbench.view.lines import Role
from workbench.view.run_findings import FindingOrder
from workbench.view.run_strip import LABEL
from workbench.view.run_view import RunView
from workbench.view.targets import CellTarget, NodeTarget, PositionTarget, SlotTarget


def test_one_key_leads_from_the_start_to_the_wrong_cell(faulty: Path) -> None:
    shown = play(faulty, ["exclamation_mark"])
    assert shown.target == CellTarget(*CELL)
    assert f"node {CELL[0]} sees node {CELL[1]}, no ancestor of it" in shown.text
    assert "MASK001" in shown.text


def test_a_moment_of_a_finding_opens_on_its_cell(faulty: Path) -> None:
    shown = play(faulty, moment=f"0:0:5:verify:{CELL[0]}")
    assert (shown.panel, shown.target) == ("visible", CellTarget(*CELL))


@pytest.mark.parametrize(
    ("size", "panels"),
    [
        ((80, 24), ["tree"]),
        ((130, 30), ["tree", "visible"]),
        ((200, 50), ["tree", "visible", "acceptance", "findings"]),
    ],
)
def test_as_many_panels_as_there_is_room_for(faulty: Path, size: tuple[int, int], panels: list[str]) -> None:
    shown = play(faulty, size=size, ask=lambda screen: [slot.panel for slot in screen.slots if slot.display])
    assert shown.asked == panels
    assert all(f"─ {panel} ─" in shown.text for panel in panels)
    assert max(len(line) for line in shown.text.splitlines()) <= size[0]


def test_a_node_that_is_selected_is_shown_in_the_other_panels(faulty: Path) -> None:
    shown = play(
        faulty,
        ["t", "j", "j"],
        size=(200, 50),
        ask=lambda screen: {slot.linked for slot in screen.shown_slots if slot.panel != "tree"},
    )
    assert isinstance(shown.target, NodeTarget)
    assert shown.asked == {shown.target}


def test_the_cursor_moves_over_cells_like_vim(faulty: Path) -> None:
    keys = ["m", "G", "l", "l", "l", "k", "h"]
    shown = play(faulty, keys)
    assert shown.target == CellTarget(10, 1)


def _cursor(screen: RunScreen) -> tuple[int, int]:
    return screen.active_slot.cursor, screen.active_slot.num_lines


def test_first_and_last_line(faulty: Path) -> None:
    lines = {"G": -1, "end": -1, "g": 0, "home": 0}
    for shown, line in zip(
        play_each(faulty, [["o", "j", "j", key] for key in lines], _cursor), lines.values(), strict=True
    ):
        cursor, num_lines = shown.asked
        assert cursor == line % num_lines


def test_pages(faulty: Path) -> None:
    """The panel opens with its first node selected, in line 1."""
    there = [["ctrl+d"], ["space"], ["ctrl+f"], ["pagedown"], ["down"]]
    back = [
        ["ctrl+d", "ctrl+u"],
        ["pagedown", "pageup"],
        ["ctrl+f", "ctrl+b"],
        ["down", "up"],
        ["right", "left"],
    ]
    outcomes = play_each(faulty, [["o", *keys] for keys in there + back], _cursor)
    assert [shown.asked[0] > 1 for shown in outcomes] == [True] * len(there) + [False] * len(back)


def test_following_a_node_leads_to_its_slot_and_on_to_who_wrote_it_last(tmp_path: Path) -> None:
    """The slots of step 1 overlap those of step 0, so the slot was written before."""
    folder = write_run(tmp_path / "run", 2, paths=("fused",))
    shown = play(folder, ["right_square_bracket", "t", "j", "enter"])
    assert (shown.panel, type(shown.target)) == ("cache", PositionTarget)
    assert play(folder, ["right_square_bracket", "t", "j", "enter", "enter"]).panel == "tree"
    shown = play(folder, ["right_square_bracket", "t", "j", "enter", "l", "l", "enter"])
    assert (shown.moment, shown.panel, type(shown.target)) == ("0:0:0", "cache", SlotTarget)


def test_following_a_finding_of_the_list_leads_to_its_cell(faulty: Path) -> None:
    shown = play(faulty, ["f", "j", "j", "enter"])
    assert (shown.moment, shown.target) == ("0:0:5", CellTarget(*CELL))


def test_tab_goes_round_the_panes_and_enter_from_the_time_line_to_the_panel(faulty: Path) -> None:
    for keys, kind in ((["tab"], PanelView), (["tab", "shift+tab"], TimelineView), (["enter"], PanelView)):
        assert isinstance(play(faulty, keys, ask=lambda screen: screen.focused).asked, kind)


def test_the_time_line_moves_the_step(faulty: Path) -> None:
    assert play(faulty, ["j", "j"]).moment == "0:0:2"
    assert play(faulty, ["G"]).moment == "0:1:7"


def test_the_mouse_chooses_a_step_and_follows_a_cell(faulty: Path) -> None:
    async def run() -> None:
        app = ViewApp(RunView(faulty))
        async with app.run_test(size=(80, 24)) as pilot:
            await settle(app, pilot)
            await pilot.click(TimelineView, offset=(3, 4))
            await settle(app, pilot)
            assert str(run_screen(app).model.step.moment) == "0:0:3"
            await pilot.press("m")
            await settle(app, pilot)
            slot = run_screen(app).active_slot
            grid = next(y for y in range(slot.num_lines) if isinstance(_first_target(slot, y), NodeTarget))
            await pilot.click(f"#{slot.id}", offset=(1 + 8, 1 + grid + 1 - slot.scroll_offset.y))
            await settle(app, pilot)
            assert isinstance(slot.target, CellTarget)
            await pilot.click(f"#{slot.id}", offset=(1 + 8, 1 + grid + 1 - slot.scroll_offset.y), times=2)
            await settle(app, pilot)
            assert run_screen(app).active_slot.panel == "tree"

    asyncio.run(run())


def _first_target(slot: PanelView, y: int) -> object:
    return next((span.target for span in slot.content_line(y) if span.target is not None), None)


def test_every_key_is_a_command_of_the_palette(faulty: Path) -> None:
    async def run() -> None:
        app = ViewApp(RunView(faulty))
        async with app.run_test(size=(80, 24)) as pilot:
            await settle(app, pilot)
            commands = {command.title: command for command in app.get_system_commands(app.screen)}
            assert {str(binding.tooltip) for binding in RUN_KEYS} <= set(commands)
            first: SystemCommand = commands["First divergence"]
            await first.callback()
            await settle(app, pilot)
            assert str(run_screen(app).model.step.moment) == "0:0:5"

    asyncio.run(run())


def test_hostile_tokens_do_not_reach_the_terminal(tmp_path: Path) -> None:
    ids = [7, 8, 9, 10, 11, 12, 7, 8, 9, 10, 11, 12]
    folder = write_run(tmp_path / "run", 1, changes={0: {"token_ids": ids, "target_token_ids": ids}})
    for shown in play_each(folder, [["t"], ["o"], ["a"], ["c"]]):
        assert all(character == "\n" or character.isprintable() for character in shown.text)


def test_history_goes_back_and_forward() -> None:
    history, places = History(), [Location(row) for row in range(3)]
    history.leave(places[0])
    history.leave(places[1])
    assert history.back(places[2]) == places[1]
    assert history.back(places[1]) == places[0]
    assert history.back(places[0]) is None
    assert history.forward(places[0]) == places[1]
    history.leave(places[1])
    assert history.forward(places[1]) is None


def test_the_first_divergence_is_no_consequence_and_no_warning() -> None:
    found = (finding(1, consequence=True), finding(4), finding(2, severity="warning"), finding(3))
    assert FindingOrder(found).first_divergence() == 3
    assert FindingOrder(found[:1]).first_divergence() == 0
    assert FindingOrder(()).first_divergence() is None


@pytest.mark.parametrize("keys", [[], ["T"]], ids=["dark", "light"])
def test_every_role_can_be_read_and_muted_text_is_muted(clean: Path, keys: list[str]) -> None:
    """Catches a colour of the one theme that is kept in the other, such as white on light grey."""

    def contrasts(screen: RunScreen) -> dict[str, float]:
        """How far each role is from its ground in perceived brightness; 1 is not at all."""
        panel = screen.active_slot
        ground = panel.background_colors[1].brightness
        inks = {role: panel._style(role, panel.rich_style).color for role in get_args(Role)}
        lights = {role: Color.from_rich_color(ink).brightness for role, ink in inks.items()}
        return {
            role: (max(light, ground) + 0.05) / (min(light, ground) + 0.05) for role, light in lights.items()
        }

    measured = play(clean, keys, ask=contrasts).asked
    assert min(measured.values()) > 1.5, measured
    assert measured["dim"] < measured["plain"], measured


def test_the_strip_shows_the_run_and_a_click_goes_to_a_step(faulty: Path) -> None:
    async def run() -> str:
        app = ViewApp(RunView(faulty))
        async with app.run_test(size=(80, 24)) as pilot:
            await settle(app, pilot)
            run_screen(app).read_on()
            await settle(app, pilot)
            await pilot.click("#strip", offset=(LABEL + 5 * 3 + 1, 0))
            await settle(app, pilot)
            return str(run_screen(app).model.step.moment)

    assert asyncio.run(run()) == "0:0:5"


def test_the_tab_of_the_open_panel_is_the_marked_one(faulty: Path) -> None:
    """Two rows of tabs with the same words and another mark are not the same."""

    def marked(screen: RunScreen) -> str:
        row = screen.query_one("#tabs").content
        return "".join(row.plain[each.start : each.end] for each in row.spans if each.style == "reverse")

    assert play(faulty, ["t"], ask=marked).asked.strip() == "tree"
    assert play(faulty, ["a"], ask=marked).asked.strip() == "accept"
    assert play(faulty, ["a", "c"], ask=marked).asked.strip() == "cache"


def test_a_line_far_away_is_shown_with_its_surroundings(tmp_path: Path) -> None:
    """The wrong cell of a large grid is not at the edge of its panel."""
    visible = np.tril(np.ones((60, 60), np.bool_))
    wide = {"visible": visible, "parents": np.maximum(np.arange(60) - 1, 0)}

    def around(screen: RunScreen) -> tuple[int, int]:
        slot = screen.active_slot
        place = slot.cursor - slot.scroll_offset.y
        return place, slot.scrollable_content_region.height

    with RunWriter(tmp_path / "run") as run:
        trace = run.path("fused")
        with trace.step(step=0) as step:
            step.record(**wide)
        run.add_finding(finding(0, node=30))
    place, height = play(tmp_path / "run", ["exclamation_mark"], ask=around).asked
    assert height // 3 < place < height - height // 3
    opened = play(tmp_path / "run", ["m"])
    assert "in small" in opened.text
