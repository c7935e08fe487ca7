"""Choose a run."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Footer, Static

from workbench.tui.widgets.line_view import LineView
from workbench.view.lines import note
from workbench.view.run_list import RunEntry, run_line


class PickerScreen(Screen[Path | None]):
    """Lists runs; hands back the one chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", "Open", id="picker.choose"),
        Binding("q,escape", "dismiss", "Leave", id="picker.leave"),
    ]

    def __init__(self, entries: list[RunEntry]) -> None:
        super().__init__()
        self._entries = entries

    def compose(self) -> ComposeResult:
        """Lay out the list."""
        yield Static("specwb view: choose a run", id="status", markup=False)
        lines = [run_line(entry) for entry in self._entries]
        yield LineView(
            lines or [note("no run in runs/, traces/ or here; specwb diff records one")], "runs", id="runs"
        )
        yield Footer(compact=True)

    def action_choose(self) -> None:
        """Hand the run back."""
        if self._entries:
            self.dismiss(self._entries[self.query_one(LineView).cursor].folder)
