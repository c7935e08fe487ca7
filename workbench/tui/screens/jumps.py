"""The places that the user was at: choose one to go back to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from workbench.tui.widgets.line_view import LineView
from workbench.view.history import Location
from workbench.view.lines import Line, Span
from workbench.view.safe_text import safe_text
from workbench.view.targets import text_of


class JumpScreen(ModalScreen[Location | None]):
    """Lists places, the latest first; hands back the one chosen, None when the user leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", "Go there", id="jumps.choose"),
        Binding("escape,q,J", "dismiss", "Leave", id="jumps.leave"),
    ]

    def __init__(self, places: Sequence[Location]) -> None:
        super().__init__()
        self._places = places

    def compose(self) -> ComposeResult:
        """Lay out the list."""
        yield LineView([jump_line(place) for place in self._places], "places: enter goes there", id="jumps")

    def action_choose(self) -> None:
        """Hand the place back."""
        self.dismiss(self._places[self.query_one(LineView).cursor])


def jump_line(place: Location) -> Line:
    """Return a place as one line: step, panel, what was selected."""
    selected = "" if place.target is None else text_of(place.target)
    return (
        Span(f"{safe_text(place.moment) or f'row {place.row}':<12}", "accent"),
        Span(f" {place.panel:<12}"),
        Span(safe_text(selected), "dim"),
    )
