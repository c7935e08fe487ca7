"""What `specwb view` costs: opening a long run, each move in it, proving and counting it, memory."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from costs.row import Cost, Goal, Row
from costs.screen_moves import ScreenTimes, measure_screen
from costs.timing import middle
from costs.workshop import Workshop

NUM_STEPS: Final = 1_000_000
NUM_NODES: Final = 12
SIZES: Final = ((80, 24), (200, 50))
GOALS: Final = {
    "view.open": Goal(0.7),
    "view.memory": Goal(400),
    **{f"view.slowest_move_{columns}x{lines}": Goal(0.1) for columns, lines in SIZES},
    **{f"view.median_move_{columns}x{lines}": Goal(0.1) for columns, lines in SIZES},
    "view.proven": None,
    "view.distances": None,
}
ABOUT: Final = f"`specwb view` of {NUM_STEPS} steps of {NUM_NODES} nodes, both paths, in a pseudo-terminal"


def _measure(workshop: Workshop) -> Iterator[Row]:
    importlib.import_module("textual")  # the screen is another process: say here what is missing
    run = workshop.long_run(NUM_STEPS, num_nodes=NUM_NODES, for_screen=True)
    workshop.say("moving about on the screen")
    yield from rows_of({f"{size[0]}x{size[1]}": measure_screen(run, size) for size in SIZES})


def rows_of(sizes: Mapping[str, ScreenTimes]) -> Iterator[Row]:
    """Yield the rows of what was measured; of all sizes of the screen the worst counts."""
    used = max((times.processor for times in sizes.values() if times.processor is not None), default=None)
    processor = "" if used is None else f", {used:.2f} s of processor"
    yield _worst(sizes, "view.open", lambda times: times.opened, f"until the screen is at rest{processor}")
    memory = "peak, every panel opened"
    if any(times.memory is None for times in sizes.values()):
        yield _row("view.memory", None, "", f"not measured: {ABOUT}, {memory}")
    else:
        yield _worst(sizes, "view.memory", lambda times: (times.memory or 0) / 1e6, memory, "MB")
    for size, times in sizes.items():
        yield from _moves(size, times.moves)
    yield _worst(
        sizes, "view.proven", lambda times: times.proven, "from its start until every batch is proven"
    )
    yield _worst(sizes, "view.distances", lambda times: times.distances, "the whole run counted")


def _moves(size: str, moves: Mapping[str, list[float]]) -> Iterator[Row]:
    every = [each for seconds in moves.values() for each in seconds]
    slowest = max((name for name, seconds in moves.items() if seconds), key=lambda name: max(moves[name]))
    how = f"{ABOUT}: the slowest of {len(every)} moves, {slowest}"
    yield _row(f"view.slowest_move_{size}", max(every), "s", how)
    value, spread = middle(every)
    how = f"{ABOUT}: the median of {len(every)} moves"
    yield _row(f"view.median_move_{size}", value, "s", how, spread)


def _worst(
    sizes: Mapping[str, ScreenTimes],
    name: str,
    value: Callable[[ScreenTimes], float],
    how: str,
    unit: str = "s",
) -> Row:
    size, times = max(sizes.items(), key=lambda item: value(item[1]))
    return _row(name, value(times), unit, f"{ABOUT}, {how}; at {size}")


def _row(
    name: str, value: float | None, unit: str, how: str, spread: tuple[float, float] | None = None
) -> Row:
    return Row(name=name, value=value, unit=unit, goal=GOALS[name], how=how, spread=spread)


COSTS: Final = (Cost("view", dict(GOALS), _measure),)
