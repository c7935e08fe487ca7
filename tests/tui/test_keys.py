"""Every key does what the help says; the table below must hold every key of the screen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tui.conftest import CELL
from tests.tui.driving import Shown, play_each, settle
from workbench.tui.app import ViewApp
from workbench.tui.keys import PANEL_KEYS, RUN_KEYS
from workbench.view.panels import PANELS
from workbench.view.run_view import RunView
from workbench.view.targets import CellTarget, NodeTarget, PositionTarget

RIGHT, LEFT = "right_curly_bracket", "left_curly_bracket"
Check = Callable[[Shown], Any]

MOVES: list[tuple[str, list[str], Check]] = [
    (RIGHT, [RIGHT], lambda shown: (shown.moment, shown.target) == ("0:0:5", CellTarget(*CELL))),
    (RIGHT, [RIGHT, RIGHT], lambda shown: (shown.moment, shown.panel) == ("0:0:5", "logits")),
    (RIGHT, [RIGHT] * 3, lambda shown: shown.moment == "0:1:5"),
    (RIGHT, [RIGHT] * 4, lambda shown: "no finding after" in shown.said),
    (LEFT, [RIGHT, RIGHT, RIGHT, LEFT], lambda shown: (shown.moment, shown.panel) == ("0:0:5", "logits")),
    (LEFT, [LEFT], lambda shown: "no finding before" in shown.said),
    ("exclamation_mark", ["exclamation_mark"], lambda shown: shown.target == CellTarget(*CELL)),
    ("right_square_bracket", ["right_square_bracket"] * 2, lambda shown: shown.moment == "0:0:2"),
    (
        "left_square_bracket",
        ["right_square_bracket"] * 2 + ["left_square_bracket"],
        lambda shown: shown.moment == "0:0:1",
    ),
    ("left_square_bracket", ["left_square_bracket"], lambda shown: shown.moment == "0:0:0"),
    ("right_parenthesis", ["right_parenthesis"], lambda shown: shown.moment == "0:1:0"),
    (
        "left_parenthesis",
        ["right_parenthesis", "j", "left_parenthesis"],
        lambda shown: shown.moment == "0:0:0",
    ),
    ("greater_than_sign", ["greater_than_sign"], lambda shown: shown.moment == "0:0:0"),
    ("less_than_sign", ["less_than_sign"], lambda shown: shown.moment == "0:0:0"),
    ("colon", ["colon", "=0:1:3", "enter"], lambda shown: shown.moment == "0:1:3"),
    ("ctrl+g", ["ctrl+g", "=0:1", "enter"], lambda shown: shown.moment == "0:1:0"),
    ("colon", ["colon", "=0:0:2:commit:3", "enter"], lambda shown: shown.panel == "cache"),
    ("colon", ["colon", "=0:0:99", "enter"], lambda shown: "no step 0:0:99" in shown.said),
    ("colon", ["colon", "=what", "enter"], lambda shown: "moment should be" in shown.said),
    ("colon", ["colon", "4", "escape"], lambda shown: shown.moment == "0:0:0"),
    ("slash", ["slash", "=pos 33", "enter"], lambda shown: shown.target == PositionTarget(33)),
    ("slash", ["slash", "=no such", "enter"], lambda shown: "no token of this run" in shown.said),
    ("slash", ["slash", "=slot 99", "enter"], lambda shown: "was not found" in shown.said),
    (
        "n",
        ["slash", "=node 3", "enter", "n"],
        lambda shown: (shown.moment, shown.target) == ("0:0:1", NodeTarget(3)),
    ),
    ("N", ["slash", "=node 3", "enter", "n", "N"], lambda shown: shown.moment == "0:0:0"),
    ("n", ["n", "=node 3", "enter"], lambda shown: shown.target == NodeTarget(3)),
    ("backspace", [RIGHT, "backspace"], lambda shown: shown.moment == "0:0:0"),
    ("H", [RIGHT, RIGHT, "H"], lambda shown: shown.panel == "visible"),
    ("backspace", ["backspace"], lambda shown: "nothing further back" in shown.said),
    ("L", [RIGHT, "backspace", "L"], lambda shown: shown.moment == "0:0:5"),
    ("L", ["L"], lambda shown: "nothing further forward" in shown.said),
    ("J", ["J"], lambda shown: "nowhere to go back to" in shown.said),
    ("J", [RIGHT, "H", "J"], lambda shown: "0:0:5        visible     visible[" in shown.text),
    (
        "J",
        [RIGHT, "H", "J", "enter"],
        lambda shown: (shown.moment, shown.target) == ("0:0:5", CellTarget(*CELL)),
    ),
    ("J", [RIGHT, "J", "escape"], lambda shown: shown.moment == "0:0:5"),
]

SWITCHES: list[tuple[str, list[str], Check]] = [
    ("x", ["x"], lambda shown: "reference | fused" in shown.text),
    ("x", ["x", "x"], lambda shown: "fused | reference" in shown.text),
    ("p", ["p"], lambda shown: "reference | fused" in shown.text),
    ("p", ["p", "p"], lambda shown: "fused | reference" in shown.text),
    ("v", ["v", "o"], lambda shown: "| reference" not in shown.text),
    ("d", ["d"], lambda shown: "no node differs" in shown.text),
    ("d", ["d", "d"], lambda shown: "no node differs" not in shown.text),
    ("d", [RIGHT, "d"], lambda shown: shown.target == CellTarget(*CELL)),
    ("d", ["t", "j", "j", "j", "d", "d"], lambda shown: shown.target == NodeTarget(4)),
    ("S", ["S"], lambda shown: (shown.moment, "0:0:4" in shown.text) == ("0:0:5", False)),
    ("S", ["S", "S"], lambda shown: "0:0:4" in shown.text),
    ("S", ["S", "right_square_bracket"], lambda shown: shown.moment == "0:1:5"),
    ("S", ["S", "k", "left_square_bracket"], lambda shown: shown.moment == "0:0:5"),
    ("z", ["z"], lambda shown: "steps" not in shown.text),
    ("z", ["z", "z"], lambda shown: "steps" in shown.text),
    ("y", [RIGHT, "y"], lambda shown: shown.clipboard == f"0:0:5:verify:{CELL[0]}"),
    ("K", [RIGHT, "K"], lambda shown: (shown.moment, shown.panel) == ("0:0:6", "tree")),
    ("Y", [RIGHT, "Y"], lambda shown: shown.clipboard == f"visible[{CELL[0]}, {CELL[1]}]"),
    ("Y", ["s", "Y"], lambda shown: "no value under the cursor" in shown.said),
    ("e", [RIGHT, "e"], lambda shown: "no finding here names a line of code" in shown.said),
    ("F", ["F"], lambda shown: "--follow" in shown.said),
    ("T", ["T"], lambda shown: not shown.asked),
    ("T", ["T", "T"], lambda shown: shown.asked),
    ("question_mark", ["question_mark"], lambda shown: "keys: timeline" in shown.text),
    ("question_mark", ["m", "question_mark"], lambda shown: "leaked" in shown.text),
    ("f1", ["f1", "escape"], lambda shown: "keys: timeline" not in shown.text),
]

OPENED = [
    (each, panel)
    for panel, binding in zip(PANELS, PANEL_KEYS, strict=True)
    for each in binding.key.split(",")
]


@pytest.fixture(scope="module")
def outcomes(faulty: Path) -> list[Shown]:
    """What every case of the tables led to."""
    cases = [keys for _, keys, _ in MOVES + SWITCHES]
    return play_each(faulty, cases, ask=lambda screen: screen.app.current_theme.dark)


@pytest.mark.parametrize("number", range(len(MOVES + SWITCHES)))
def test_the_key_does_it(outcomes: list[Shown], number: int) -> None:
    key, keys, check = (MOVES + SWITCHES)[number]
    shown = outcomes[number]
    assert key in keys
    assert check(shown), f"{keys}: {shown.moment} {shown.panel} {shown.target}\n{shown.said}\n{shown.text}"


@pytest.mark.parametrize("which", [0, 1], ids=["letter", "number"])
def test_letter_and_number_open_the_panel(faulty: Path, which: int) -> None:
    keys = [binding.key.split(",") for binding in PANEL_KEYS]
    opened = [(each[which], panel) for each, panel in zip(keys, PANELS, strict=True) if which < len(each)]
    for shown, (_, panel) in zip(play_each(faulty, [[key] for key, _ in opened]), opened, strict=True):
        assert shown.panel == panel.name
        assert f"─ {panel.name} ─" in shown.text


def test_the_tables_above_hold_every_key() -> None:
    tried = {key for key, _, _ in MOVES + SWITCHES} | {key for key, _ in OPENED} | {"q"}
    assert tried == {key for binding in RUN_KEYS for key in binding.key.split(",")}


def test_q_leaves(faulty: Path) -> None:
    async def run() -> int:
        app = ViewApp(RunView(faulty))
        async with app.run_test(size=(80, 24)) as pilot:
            await settle(app, pilot)
            await pilot.press("q")
            await pilot.pause()
        return app.return_code or 0

    assert asyncio.run(run()) == 0


def test_no_key_is_bound_twice() -> None:
    keys = [key for binding in RUN_KEYS for key in binding.key.split(",")]
    assert len(keys) == len(set(keys))
