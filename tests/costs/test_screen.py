"""What the screen costs is measured from outside, in a terminal of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from costs import screen_moves
from costs.long_run import write_long_run
from costs.screen import COSTS, GOALS, rows_of
from costs.screen_moves import ScreenTimes, measure_screen
from costs.terminal import Terminal
from tracing.errors import EnvironmentProblemError

ECHO = """
import sys, tty
tty.setraw(0)
print(end='ready', flush=True)
while True:
    print(end=sys.stdin.read(1) * 2, flush=True)
"""


def test_a_terminal_tells_a_key_that_does_something_from_one_that_does_not() -> None:
    quiet = "import time; print('ready', flush=True); time.sleep(60)"
    with Terminal([sys.executable, "-c", ECHO], (80, 24)) as terminal:
        terminal.until(b"ready")
        assert terminal.send(b"x") is not None
        terminal.send(b"abc")
        memory = terminal.peak_memory()
        assert memory is None or memory > 1_000_000
    with Terminal([sys.executable, "-c", quiet], (80, 24)) as terminal:
        terminal.until(b"ready")
        terminal.until_rest()
        assert terminal.until_rest() is None


def test_a_program_that_ends_or_is_missing_is_reported() -> None:
    with (
        Terminal([sys.executable, "-c", "pass"], (80, 24)) as terminal,
        pytest.raises(EnvironmentProblemError, match="never showed 'ready'"),
    ):
        terminal.until(b"ready")
    with pytest.raises(EnvironmentProblemError, match="no terminal to measure in"):
        Terminal(["/no/such/program"], (80, 24))


def test_the_program_sees_the_size_it_was_given() -> None:
    ask = "import os; print(os.get_terminal_size(), flush=True); input()"
    with Terminal([sys.executable, "-c", ask], (200, 50)) as terminal:
        terminal.until(b"columns=200, lines=50")


def test_every_move_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a measured key that has come to do nothing: it would have no time."""
    for name in ("TIMELINE_MOVES", "STEP_MOVES"):
        once = tuple((what, key, 1) for what, key, _ in getattr(screen_moves, name))
        monkeypatch.setattr(screen_moves, name, once)
    monkeypatch.setattr(screen_moves, "NUM_ENDS", 1)
    monkeypatch.setattr(screen_moves, "PANEL_ROUNDS", 1)
    run = write_long_run(tmp_path / "run", 64 * 40, num_nodes=6, for_screen=True)
    times = measure_screen(run, (80, 24))
    assert times.proven > times.opened > 0
    assert times.distances > 0
    assert {"next finding", "last step", "first step", "switch panel"} <= set(times.moves)
    for name, seconds in times.moves.items():
        assert seconds, name
        assert min(seconds) > 0, name


def test_of_the_sizes_of_the_screen_the_worst_counts() -> None:
    """The median, or the size that happens to come first, would hide the slow one."""
    small = {"next step": [0.01, 0.04], "swap sides": []}
    large = {"next step": [0.03, 0.06], "switch panel": [0.07]}
    times = {
        "80x24": ScreenTimes(
            opened=0.5, processor=0.9, proven=2.0, moves=small, distances=3.0, memory=90_000_000
        ),
        "200x50": ScreenTimes(
            opened=1.5, processor=None, proven=1.0, moves=large, distances=1.0, memory=80_000_000
        ),
    }
    rows = {row.name: row for row in rows_of(times)}
    assert set(rows) == set(GOALS) == set(COSTS[0].rows)
    assert (rows["view.open"].value, rows["view.open"].held) == (1.5, False)
    assert (rows["view.memory"].value, rows["view.memory"].held) == (90, True)
    assert "0.90 s of processor" in rows["view.open"].how
    assert (rows["view.slowest_move_80x24"].value, rows["view.slowest_move_200x50"].value) == (0.04, 0.07)
    assert rows["view.slowest_move_200x50"].held
    assert "3 moves, switch panel" in rows["view.slowest_move_200x50"].how
    assert (rows["view.median_move_80x24"].value, rows["view.median_move_200x50"].value) == (0.025, 0.06)
    assert (rows["view.proven"].value, rows["view.distances"].value) == (2.0, 3.0)


def test_memory_that_the_system_does_not_report_is_not_measured() -> None:
    times = ScreenTimes(opened=1, processor=None, proven=1, moves={"x": [1.0]}, distances=1, memory=None)
    rows = {row.name: row for row in rows_of({"80x24": times, "200x50": times})}
    assert rows["view.memory"].value is None
    assert "not measured" in rows["view.memory"].how
