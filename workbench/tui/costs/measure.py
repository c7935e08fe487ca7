"""Opens a run in `specwb view`, moves about in it, and measures both from outside, as a user sees them.

`python -m workbench.tui.costs.measure RUN` prints the rows; without a run it makes one of 100,000 steps.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tracing.reader import open_run
from workbench.tui.costs.long_run import write_long_run
from workbench.tui.costs.terminal import Terminal
from workbench.view.panels import PANELS

NUM_STEPS: Final = 100_000
SIZES: Final = ((80, 24), (200, 50))

TIMELINE_MOVES: Final = (
    ("next step", b"]", 20),
    ("page of steps", b" ", 10),
    ("last step", b"G", 5),
    ("first step", b"g", 5),
)
"""Name, key and how often; `last` and `first` are told apart from no move by going to and fro."""

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
"""A panel that goes on changing while the whole run is counted; that has a row of its own."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One row.

    Attributes:
        what: What was measured, the size of the screen included.
        unit: `s` or `MB`.
        count: How many times.
        typical: The median.
        worst: The largest.
    """

    what: str
    unit: str
    count: int
    typical: float
    worst: float


def view_costs(run: Path, sizes: tuple[tuple[int, int], ...] = SIZES) -> list[Cost]:
    """Measure the screen on a run.

    Args:
        run: A complete run folder of some thousand steps at least, with findings.
        sizes: Columns and lines of the screens.

    Returns:
        Rows for opening, memory, proving the files, every move, all moves together (`worst` of that row is
        their 99th percentile), and counting the distances of the run.

    Raises:
        EnvironmentProblemError: There is no pseudo-terminal, or the screen does not come.
        TraceError: The folder is no run.
    """
    recorded = open_run(run)
    num_steps = recorded.path(recorded.path_names[0]).num_steps
    rows: list[Cost] = []
    for columns, lines in sizes:
        size = f"{columns}x{lines}"
        command = [sys.executable, "-m", "specwb", "view", str(run)]
        begun = time.perf_counter()
        with Terminal(command, (columns, lines)) as terminal:
            terminal.until(f"of {num_steps}".encode())
            shown = time.perf_counter() - begun
            shown += terminal.until_rest() or 0.0
            rows.append(_row(f"{size} open", [shown]))
            processor = terminal.processor()
            rows += [] if processor is None else [_row(f"{size} processor, opened", [processor])]
            rows += _memory(f"{size} memory, opened", terminal)
            terminal.until(PROVEN)
            rows.append(_row(f"{size} proven", [time.perf_counter() - begun]))
            terminal.until_rest()
            moves = list(_moves(terminal))
            rows += [_row(f"{size} {name}", seconds) for name, seconds in moves]
            every = sorted(each for _, seconds in moves for each in seconds)
            rows.append(
                Cost(f"{size} all moves, worst is p99", "s", len(every), _at(every, 0.5), _at(every, 0.99))
            )
            rows.append(_row(f"{size} distances of the run", [_distances(terminal, num_steps)]))
            rows += _memory(f"{size} memory, after all that", terminal)
    return rows


def _moves(terminal: Terminal) -> Iterator[tuple[str, list[float]]]:
    """Yield each kind of move with its times; a key that changes nothing is not counted."""
    times: dict[str, list[float]] = {name: [] for name, _, _ in TIMELINE_MOVES}
    for name, key, count in TIMELINE_MOVES[:2]:
        times[name] = _sent(terminal, key, count)
    for _ in range(TIMELINE_MOVES[2][2]):
        for name, key, _ in TIMELINE_MOVES[2:]:
            times[name] += _sent(terminal, key, 1)
    yield from times.items()
    for name, key, count in STEP_MOVES:
        yield name, _sent(terminal, key, count)
    panels = [panel for _ in range(PANEL_ROUNDS) for panel in PANELS if panel.name != COUNTED]
    yield "switch panel", [each for panel in panels for each in _sent(terminal, panel.key.encode(), 1)]


def _sent(terminal: Terminal, key: bytes, count: int) -> list[float]:
    seconds = [terminal.send(key) for _ in range(count)]
    return [each for each in seconds if each is not None]


def _distances(terminal: Terminal, num_steps: int) -> float:
    """Open the panel that counts the whole run, and wait for the last number."""
    key = next(panel.key for panel in PANELS if panel.name == COUNTED)
    begun = time.perf_counter()
    terminal.send(key.encode())
    terminal.send(b"z")
    terminal.until(f"{num_steps} rows".encode())
    return time.perf_counter() - begun


def _memory(what: str, terminal: Terminal) -> list[Cost]:
    size = terminal.peak_memory()
    return [] if size is None else [Cost(what, "MB", 1, size / 1e6, size / 1e6)]


def _row(what: str, seconds: list[float]) -> Cost:
    ordered = sorted(seconds)
    return Cost(what, "s", len(ordered), _at(ordered, 0.5), _at(ordered, 1.0))


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def _print(rows: list[Cost]) -> None:
    for row in rows:
        print(f"{row.what:<36} {row.count:>4}  {row.typical:8.3f} {row.worst:8.3f} {row.unit}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _print(view_costs(Path(sys.argv[1])))
    else:
        with tempfile.TemporaryDirectory() as folder:
            _print(view_costs(write_long_run(Path(folder) / "long", NUM_STEPS)))
