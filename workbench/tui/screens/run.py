"""The run: its time line, and the linked panels of the step under the cursor."""

from __future__ import annotations

from typing import ClassVar, Final

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Horizontal
from textual.widgets import Static

from tracing.moment import Moment
from workbench.tui.drawing import Drawing
from workbench.tui.keys import RUN_KEYS
from workbench.tui.messages import (
    DistancesCounted,
    ProofWent,
    ReadFailed,
    RowChosen,
    RowFound,
    RunGrew,
    SearchEnded,
    StepDrawn,
    TargetFollowed,
    TargetSelected,
    TimelineRead,
)
from workbench.tui.screens.run_actions import RunActions
from workbench.tui.widgets.key_bar import KeyBar
from workbench.tui.widgets.panel_view import PanelView
from workbench.tui.widgets.timeline_view import BLOCK, TimelineView
from workbench.view.run_view import RunView
from workbench.view.targets import FindingTarget

SLOTS: Final = ("tree", "visible", "acceptance", "findings")
"""What the four places show at first; a small screen has the first one or two."""

WIDE, TALL = 120, 40
FOLLOW_SECONDS: Final = 0.5
READ_ON_AFTER: Final = 0.5
"""Seconds after which the rest of the files is read ahead of need: the first step is drawn first."""


class RunScreen(RunActions):
    """Shows one run, or two side by side.

    Args:
        view: The run.
        moment: Where to begin; without one at the first step.
        follow: Go along with a run that is being written.
    """

    BINDINGS: ClassVar[list[BindingType]] = list(RUN_KEYS)

    def __init__(self, view: RunView, moment: Moment | None = None, *, follow: bool = False) -> None:
        super().__init__(view)
        self._begin = moment
        self.following = follow
        self.live = follow

    def compose(self) -> ComposeResult:
        """Lay out status, time line, panels and footer."""
        yield Static(id="status", markup=False)
        yield Static(id="problem", markup=False)
        with Horizontal(id="body"):
            yield TimelineView(id="timeline")
            with Container(id="panels"):
                for number, panel in enumerate(SLOTS):
                    yield PanelView(panel, id=f"slot{number}")
        yield Static(id="finding", markup=False)
        yield Static(id="detail", markup=False)
        yield KeyBar(RUN_KEYS)

    def on_mount(self) -> None:
        """Begin to read."""
        self.drawing = Drawing(self.view, self.post_message)
        self.timeline.border_title = "steps"
        self._take_run()
        self._say_problems()
        self.timeline.focus()
        if self._begin is not None:
            self.drawing.locate(self._begin, *self.place_of(self._begin))
        elif self.following:
            self.go_to(self.view.num_rows - 1, remember=False)
        self.draw()
        self.set_timer(READ_ON_AFTER, self.read_on)
        if self.view.other_folder is not None:
            self.drawing.compare()
        if self.live:
            self.set_interval(FOLLOW_SECONDS, self.drawing.refresh)

    def read_on(self) -> None:
        """Read the keys of all steps, which finding a moment needs, and prove what else there is."""
        self.drawing.index()
        self.drawing.prove()

    def on_unmount(self) -> None:
        """Stop reading."""
        self.drawing.stop()

    def on_resize(self, event: events.Resize) -> None:
        """Show as many panels as there is room for."""
        wide, tall = event.size.width >= WIDE, event.size.height >= TALL
        self.num_slots = 4 if wide and tall else 2 if wide else 1
        self.set_class(event.size.width < 100, "narrow")
        self.place_panels()

    @on(TimelineView.BlocksWanted)
    def _read_blocks(self, message: TimelineView.BlocksWanted) -> None:
        self.drawing.blocks(message.blocks, BLOCK)

    @on(TimelineView.Opened)
    def _focus_panel(self) -> None:
        self.active_slot.focus()

    @on(TimelineRead)
    def _take_rows(self, message: TimelineRead) -> None:
        self.timeline.take(message.start, message.rows)

    @on(RowChosen)
    def _show_row(self, message: RowChosen) -> None:
        self.following = False
        self.row, self.arrived, self.found_number, self.wanted_target = message.row, False, None, None
        self.draw()

    @on(RowFound)
    def _go_to_row(self, message: RowFound) -> None:
        self.go_to(message.row, message.panel, message.target)
        if isinstance(message.target, FindingTarget):
            self.found_number = message.target.number

    @on(StepDrawn)
    def _take_step(self, message: StepDrawn) -> None:
        if message.sight.row != self.row:
            return
        self.step, self.arrived = message.step, True
        for slot in self.shown_slots:
            if slot.panel_wanted in message.lines:
                slot.show(slot.panel_wanted, message.lines[slot.panel_wanted])
                slot.drawn_of = (slot.panel_wanted, message.sight)
        self.settle_target()
        self.say_status()

    @on(TargetSelected)
    def _link(self, message: TargetSelected) -> None:
        for slot in self.shown_slots:
            if slot.panel != message.panel:
                slot.link(message.target)
        self.say_cursor()

    @on(TargetFollowed)
    def _follow_target(self, message: TargetFollowed) -> None:
        self.follow_target(message.target)

    @on(SearchEnded)
    def _take_hit(self, message: SearchEnded) -> None:
        if message.hit is None:
            self.notify(f"{message.text!r} is nowhere further on", severity="warning", markup=False)
        else:
            self.go_to(message.hit.row, message.hit.panel, message.hit.target)

    @on(DistancesCounted)
    def _redraw_distances(self) -> None:
        if any(slot.panel == "distance" for slot in self.shown_slots):
            self.version += 1
            self.draw()

    @on(ProofWent)
    def _say_proof(self) -> None:
        self.say_status()

    @on(ReadFailed)
    def _say_failure(self, message: ReadFailed) -> None:
        self.notify(message.sentence, severity="error", markup=False)

    @on(RunGrew)
    def _take_more(self) -> None:
        before, num_rows = self.findings_order.first_divergence(), self.timeline.num_lines
        self._take_run()
        self._say_problems()
        self.read_on()
        first = self.findings_order.first_divergence()
        if self.following and before is None and first is not None:
            self.following = False
            self.notify("a first divergence has come; following is paused, F goes on", severity="warning")
            self.go_to_finding(first)
        elif self.following:
            self.go_to(self.view.num_rows - 1, remember=False)
        elif self.view.num_rows < num_rows and self.arrived and self.step is not None:
            self.drawing.locate(self.step.moment)  # it may stand in another row now
        else:
            self.draw()

    def _take_run(self) -> None:
        """Take over number of steps and findings."""
        self.version += 1
        self.order_findings()
        self.timeline.set_rows(self.view.num_rows, self.view.most_accepted)
        self.say_status()

    def _say_problems(self) -> None:
        problems = self.view.problems()
        line = self.query_one("#problem", Static)
        line.set_class(bool(problems), "said")
        line.update("note: " + "; ".join(problems))
