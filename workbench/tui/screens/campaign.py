"""A campaign: its causes, a map of two axes, and cases; enter goes from each to the next, down to a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Footer, Static

from tracing.errors import SpecwbError
from workbench.campaign.browse import BrowsedCampaign, BrowsedCase
from workbench.tui.screens.run import RunScreen
from workbench.tui.styles import write
from workbench.tui.widgets.line_view import LineView
from workbench.tui.widgets.map_view import MapView
from workbench.view.counted import counted
from workbench.view.lines import note
from workbench.view.run_view import RunView

NO_TRACE: Final = "its trace was not kept; those of findings, canaries and every K-th case are"


class CampaignScreen(Screen[None]):
    """Shows a campaign."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", id="campaign.open"),
        Binding("p", "pair", "Next axes", id="campaign.pair"),
        Binding("a", "all", "All cases", id="campaign.all"),
        Binding("tab", "app.focus_next", "Next list", id="campaign.next"),
        Binding("q,escape", "dismiss", "Leave", id="campaign.leave"),
    ]

    def __init__(self, campaign: BrowsedCampaign) -> None:
        super().__init__()
        self._campaign = campaign
        self._pair = 0
        self._listed: Sequence[BrowsedCase] = ()

    def compose(self) -> ComposeResult:
        """Lay out causes and map above the cases."""
        yield Static(self._campaign.status(), id="status", markup=False)
        with Horizontal(id="above"):
            yield LineView(self._campaign.cause_lines(), "causes", id="causes")
            yield MapView(id="map")
        yield LineView(id="cases")
        yield Static(id="detail", markup=False)
        yield Footer(compact=True)

    def on_mount(self) -> None:
        """Fill the map and the list of cases."""
        self._show_map()
        self._list("all cases", self._campaign.cases)
        self.query_one("#causes", LineView).focus()

    def action_open(self) -> None:
        """Go from a cause or a cell to its cases, from a case to its run."""
        focused = self.focused
        causes, axes = self.query_one("#causes", LineView), self.query_one(MapView)
        if focused is causes:
            self._list("cases of the cause, the smallest first", self._campaign.of_cause(causes.cursor))
        elif focused is axes and self._campaign.pairs:
            pair = self._campaign.pairs[self._pair]
            self._list("cases of the cell", self._campaign.at(pair, axes.row, axes.column))
        else:
            self._open_case()
            return
        self.query_one("#cases", LineView).focus()

    def action_pair(self) -> None:
        """Show the map of the next two axes."""
        if self._campaign.pairs:
            self._pair = (self._pair + 1) % len(self._campaign.pairs)
            self._show_map()

    def action_all(self) -> None:
        """List all cases."""
        self._list("all cases", self._campaign.cases)

    def _open_case(self) -> None:
        cursor = self.query_one("#cases", LineView).cursor
        if not 0 <= cursor < len(self._listed):
            return
        chosen = self._listed[cursor]
        folder = self._campaign.folder / chosen.run if chosen.run else None
        if folder is None or not folder.is_dir():
            self._say(f"case {chosen.case.number}: {NO_TRACE if folder is None else f'{folder} is gone'}")
            return
        try:
            self.app.push_screen(RunScreen(RunView(folder, lazily=True), chosen.moment))
        except SpecwbError as problem:
            self._say(str(problem))

    def _show_map(self) -> None:
        axes = self.query_one(MapView)
        pairs = self._campaign.pairs
        if not pairs:
            axes.show_lines([note("the plan varies nothing")], "axes")
            return
        one, other = pairs[self._pair]
        title = f"{one} by {other}" if one != other else one
        axes.show_lines(
            self._campaign.map_lines(pairs[self._pair]),
            f"findings: {title} ({self._pair + 1} of {len(pairs)})",
        )

    def _list(self, title: str, cases: Sequence[BrowsedCase]) -> None:
        self._listed = cases
        lines = [case.line() for case in cases]
        self.query_one("#cases", LineView).show_lines(
            lines or [note("no case")], f"{title}: {counted(len(cases), 'case')}"
        )

    def _say(self, text: str) -> None:
        write(self.query_one("#detail", Static), Content(text))
