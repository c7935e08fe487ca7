"""What the screen costs is measured from outside, in a terminal of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tracing.errors import EnvironmentProblemError
from workbench.tui.costs import measure
from workbench.tui.costs.long_run import write_long_run
from workbench.tui.costs.terminal import Terminal

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


def test_a_program_that_ends_or_is_not_there_is_said() -> None:
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


def test_every_move_has_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a measured key that has come to do nothing: its row would count no time."""
    for name in ("TIMELINE_MOVES", "STEP_MOVES"):
        once = tuple((what, key, 1) for what, key, _ in getattr(measure, name))
        monkeypatch.setattr(measure, name, once)
    monkeypatch.setattr(measure, "PANEL_ROUNDS", 1)
    run = write_long_run(tmp_path / "run", 64 * 40, num_nodes=6)
    rows = {row.what: row for row in measure.view_costs(run, ((80, 24),))}
    assert rows["80x24 open"].worst > 0
    for what, row in rows.items():
        assert row.count > 0, what
        assert row.typical > 0, what
    assert {"80x24 next finding", "80x24 switch panel", "80x24 distances of the run"} <= set(rows)
