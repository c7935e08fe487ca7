"""Costs of the screen as rows of the one table: `bench` may not look at `tui`, so the command joins them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from workbench.bench.costs.row import Cost, Goal, Row
from workbench.bench.costs.workshop import Workshop

if TYPE_CHECKING:
    from workbench.tui.costs.measure import Cost as ScreenCost

GOALS: Final = {
    "view.open": Goal(1),
    "view.memory": Goal(400),
    "view.slowest_move": Goal(0.1),
    "view.distances": None,
}
OF_A_RUN: Final = ("open", "memory", "all moves", "distances")
"""Beginnings of the names, after the size of the screen, of what is no move."""


def _measure(workshop: Workshop) -> Iterator[Row]:
    importlib.import_module("textual")  # the screen is another process: say here what is missing
    from workbench.tui.costs.long_run import write_long_run
    from workbench.tui.costs.measure import NUM_STEPS, view_costs

    workshop.say("writing a run to look at")
    run = workshop.once("viewed", lambda path: write_long_run(path, NUM_STEPS))
    workshop.say("moving about on the screen")
    rows = view_costs(run)
    about = f"`specwb view` of {NUM_STEPS} steps in a pseudo-terminal"
    yield _largest(rows, "view.open", ("open",), f"{about}, until the screen is at rest")
    yield _largest(rows, "view.memory", ("memory",), f"{about}, peak, every panel opened")
    moves = [row for row in rows if not _name(row).startswith(OF_A_RUN)]
    slowest = max(moves, key=lambda row: row.worst)
    count = sum(row.count for row in moves)
    how = f"{about}: the slowest of {count} moves, {slowest.what}"
    name = "view.slowest_move"
    yield Row(name=name, value=slowest.worst, unit=slowest.unit, goal=GOALS[name], how=how)
    yield _largest(rows, "view.distances", ("distances",), f"{about}, the whole run counted")


def _name(row: ScreenCost) -> str:
    """Return the name of a row without the size of the screen."""
    return row.what.partition(" ")[2]


def _largest(rows: list[ScreenCost], name: str, beginnings: tuple[str, ...], how: str) -> Row:
    """Return the worst over the sizes of the screen; not measured where the system cannot tell."""
    found = [row for row in rows if _name(row).startswith(beginnings)]
    if not found:
        return Row(name=name, value=None, unit="", goal=GOALS[name], how=f"not measured: {how}")
    worst = max(found, key=lambda row: row.worst)
    return Row(name=name, value=worst.worst, unit=worst.unit, goal=GOALS[name], how=f"{how}; {worst.what}")


SCREEN: Final = Cost("view", dict(GOALS), _measure)
