"""Costs of the screen as rows of the one table: `bench` may not look at `tui`, so the command joins them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from workbench.bench.costs.row import Cost, Goal, Row
from workbench.bench.costs.workshop import Workshop

if TYPE_CHECKING:
    from workbench.tui.costs.measure import Cost as ScreenCost

SIZES: Final = ((80, 24), (200, 50))
MOVES: Final = {f"{columns}x{lines}": Goal(0.1) for columns, lines in SIZES}
GOALS: Final = {
    "view.open": Goal(1),
    "view.memory": Goal(400),
    **{f"view.slowest_move_{size}": goal for size, goal in MOVES.items()},
    **{f"view.median_move_{size}": goal for size, goal in MOVES.items()},
    "view.proven": None,
    "view.distances": None,
}
OF_A_RUN: Final = ("open", "processor", "memory", "proven", "all moves", "distances")
"""Beginnings of the names, after the size of the screen, of what is no move."""


def _measure(workshop: Workshop) -> Iterator[Row]:
    importlib.import_module("textual")  # the screen is another process: say here what is missing
    from workbench.tui.costs.long_run import write_long_run
    from workbench.tui.costs.measure import NUM_STEPS, view_costs

    workshop.say("writing a run to look at")
    run = workshop.once("viewed", lambda path: write_long_run(path, NUM_STEPS))
    workshop.say("moving about on the screen")
    rows = view_costs(run, SIZES)
    about = f"`specwb view` of {NUM_STEPS} steps in a pseudo-terminal"
    processor = max((row.worst for row in rows if _name(row).startswith("processor")), default=None)
    used = "" if processor is None else f", {processor:.2f} s of processor"
    yield _largest(rows, "view.open", "open", f"{about}, until the screen is at rest{used}")
    yield _largest(rows, "view.memory", "memory", f"{about}, peak, every panel opened")
    for size in MOVES:
        yield from _moves(rows, size, about)
    yield _largest(rows, "view.proven", "proven", f"{about}, from its start until every batch is proven")
    yield _largest(rows, "view.distances", "distances", f"{about}, the whole run counted")


def _moves(rows: list[ScreenCost], size: str, about: str) -> Iterator[Row]:
    """Yield the slowest of all moves at one size of the screen, and the median of all."""
    here = [row for row in rows if row.what.startswith(f"{size} ")]
    moves = [row for row in here if not _name(row).startswith(OF_A_RUN)]
    count = sum(row.count for row in moves)
    slowest = max(moves, key=lambda row: row.worst)
    name = f"view.slowest_move_{size}"
    how = f"{about}: the slowest of {count} moves, {_name(slowest)}"
    yield Row(name=name, value=slowest.worst, unit="s", goal=GOALS[name], how=how)
    name = f"view.median_move_{size}"
    typical = next(row.typical for row in here if _name(row).startswith("all moves"))
    yield Row(
        name=name, value=typical, unit="s", goal=GOALS[name], how=f"{about}: the median of {count} moves"
    )


def _name(row: ScreenCost) -> str:
    """Return the name of a row without the size of the screen."""
    return row.what.partition(" ")[2]


def _largest(rows: list[ScreenCost], name: str, beginning: str, how: str) -> Row:
    """Return the worst over the sizes of the screen; not measured where the system cannot tell."""
    found = [row for row in rows if _name(row).startswith(beginning)]
    if not found:
        return Row(name=name, value=None, unit="", goal=GOALS[name], how=f"not measured: {how}")
    worst = max(found, key=lambda row: row.worst)
    return Row(name=name, value=worst.worst, unit=worst.unit, goal=GOALS[name], how=f"{how}; {worst.what}")


SCREEN: Final = Cost("view", dict(GOALS), _measure)
