"""Writes the lines around the panels: status, notes, tabs, the finding gone to, what the cursor is on."""

from __future__ import annotations

from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from workbench.tui.styles import styled, write
from workbench.tui.widgets.bars import StripView, TabBar
from workbench.view.run_model import RunModel
from workbench.view.run_status import cursor_line, finding_line, status_text
from workbench.view.tabs import panels_with_findings, tabs


def say_status(screen: Screen[None], model: RunModel) -> None:
    """Write the line at the top."""
    _say(screen, "#status", Content(status_text(model)))


def say_cursor(screen: Screen[None], model: RunModel) -> None:
    """Write the finding that was gone to, and under it what the cursor is on."""
    _say(screen, "#finding", styled(finding_line(model)))
    _say(screen, "#detail", styled(cursor_line(model)))


def say_tabs(screen: Screen[None], model: RunModel) -> None:
    """Write the row of tabs."""
    layout = model.layout
    active = layout.active_slot.panel
    seen = frozenset(layout.slots[number].panel for number in layout.visible)
    row = tabs(model.known_panels, panels_with_findings(model.step), active, screen.size.width)
    screen.query_one(TabBar).show(row, active, seen)


def say_problems(screen: Screen[None], model: RunModel) -> None:
    """Write what is damaged or unfinished, where anything is."""
    problems = model.view.problems()
    line = screen.query_one("#problem", Static)
    line.set_class(bool(problems), "shown")
    line.update("note: " + "; ".join(problems))


def say_strip(screen: Screen[None], model: RunModel) -> None:
    """Draw the strip of the whole run."""
    size, most = screen.size, model.view.most_accepted
    screen.query_one(StripView).show(model.strip, model.row, most, size.height)


def _say(screen: Screen[None], line: str, text: Content) -> None:
    write(screen.query_one(line, Static), text)
