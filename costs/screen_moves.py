"""Opens a run in `specwb view`, moves about in it, and measures both from outside, as a user sees them."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from costs.terminal import Terminal
from tracing.reader import open_run
from workbench.view.panels import PANELS

TIMELINE_MOVES: Final = (("next step", b"]", 20), ("page of steps", b" ", 10))
"""Name, key and how often."""
ENDS: Final = (("last step", b"G"), ("first step", b"g"))
"""Alternated: the second of two equal moves would change nothing."""
NUM_ENDS: Final = 5
STEP_MOVES: Final = (
    ("next finding", b"}", 20),
    ("previous finding", b"{", 10),
    ("swap sides", b"x", 4),
    ("differences only", b"d", 4),
)
PANEL_ROUNDS: Final = 2
PROVEN: Final = b"  proven"
"""The sign when all files are read; before, it says how much is: `12 % proven`."""
COUNTED: Final = "distance"
"""A panel that changes as long as the whole run is counted; it is measured apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenTimes:
    """What was measured at one size of the screen.

    Attributes:
        opened: Seconds until the first step is shown and the screen is at rest.
        processor: Seconds of processor until then; None where the system does not tell.
        proven: Seconds from the start until every batch is proven.
        moves: Seconds of each move that changed the screen, by the name of the move.
        distances: Seconds until the distances of the whole run are counted.
        memory: Peak resident bytes after all that; None where the system does not tell.
    """

    opened: float
    processor: float | None
    proven: float
    moves: dict[str, list[float]]
    distances: float
    memory: int | None


def measure_screen(run: Path, size: tuple[int, int]) -> ScreenTimes:
    """Measure the screen on a run.

    Args:
        run: A complete run folder of some thousand steps at least, with findings.
        size: Columns and lines of the screen.

    Raises:
        EnvironmentProblemError: There is no pseudo-terminal, or the screen does not come.
        TraceError: The folder is no run.
    """
    recorded = open_run(run)
    num_steps = recorded.path(recorded.path_names[0]).num_steps
    begun = time.perf_counter()
    with Terminal([sys.executable, "-m", "specwb", "view", str(run)], size) as terminal:
        terminal.until(f"of {num_steps}".encode())
        opened = time.perf_counter() - begun
        opened += terminal.until_rest() or 0.0
        processor = terminal.processor()
        terminal.until(PROVEN)
        proven = time.perf_counter() - begun
        terminal.until_rest()
        return ScreenTimes(
            opened=opened,
            processor=processor,
            proven=proven,
            moves=_moves(terminal),
            distances=_distances(terminal, num_steps),
            memory=terminal.peak_memory(),
        )


def _moves(terminal: Terminal) -> dict[str, list[float]]:
    moves = {name: _sent(terminal, [key] * count) for name, key, count in TIMELINE_MOVES}
    ends: dict[str, list[float]] = {name: [] for name, _ in ENDS}
    for _ in range(NUM_ENDS):
        for name, key in ENDS:
            ends[name] += _sent(terminal, [key])
    moves |= ends | {name: _sent(terminal, [key] * count) for name, key, count in STEP_MOVES}
    keys = [panel.key.encode() for panel in PANELS if panel.name != COUNTED]
    return moves | {"switch panel": _sent(terminal, keys * PANEL_ROUNDS)}


def _sent(terminal: Terminal, keys: Sequence[bytes]) -> list[float]:
    """Send keys one by one; return the seconds of those that changed something."""
    seconds = [terminal.send(key) for key in keys]
    return [each for each in seconds if each is not None]


def _distances(terminal: Terminal, num_steps: int) -> float:
    """Open the panel that counts the whole run, and wait for the last number."""
    key = next(panel.key for panel in PANELS if panel.name == COUNTED)
    begun = time.perf_counter()
    terminal.send(key.encode())
    terminal.send(b"z")
    terminal.until(f"over {num_steps} steps".encode())
    return time.perf_counter() - begun
