"""What the run screen shows: row, panels, selection; keys stand in `run_actions.py`, layout in `run.py`."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from tracing.moment import Moment
from workbench.tui.content import styled_text
from workbench.tui.drawing import Drawing
from workbench.tui.finding_order import FindingOrder, finding_line
from workbench.tui.history import History, Place
from workbench.tui.look import Look, Sight
from workbench.tui.widgets.panel_view import PanelView
from workbench.tui.widgets.timeline_view import TimelineView
from workbench.view.explain import both_values, explain
from workbench.view.lines import Line
from workbench.view.panels import panel_for, target_of
from workbench.view.run_view import RunView
from workbench.view.safe_text import safe_text
from workbench.view.step import StepView
from workbench.view.targets import (
    CellTarget,
    FindingTarget,
    NodeTarget,
    PositionTarget,
    SlotTarget,
    Target,
)

STAGE_OF_PANEL: Final = {
    "tree": "tensorize",
    "visible": "verify",
    "logits": "verify",
    "acceptance": "accept",
    "cache": "commit",
    "distance": "draft",
}
PANEL_OF_STAGE: Final = {
    "prefill": "stages",
    "draft": "tree",
    "tensorize": "tree",
    "verify": "visible",
    "accept": "acceptance",
    "commit": "cache",
}


class RunState(Screen[None]):
    """What the run screen shows, and how it comes to show something else.

    Attributes:
        view: The run.
        row: Row of the time line that is shown or on its way.
        step: The step of that row, None until it is read.
        arrived: The step of that row is what is shown.
        look: How it is looked at.
        found_number: Finding that was gone to last, None for none.
        wanted_target: What to select when the step has been drawn.
        following: The last step is shown whenever one comes.
        live: The run is looked at again and again.
        version: Counts what was read of the run beyond the step: more rows, findings, distances.
    """

    drawing: Drawing

    def __init__(self, view: RunView) -> None:
        super().__init__()
        self.view = view
        self.row = 0
        self.step: StepView | None = None
        self.arrived = False
        self.look = Look()
        self.found_number: int | None = None
        self.wanted_target: tuple[str, Target | None] | None = None
        self.following = self.live = False
        self.num_slots = 1
        self.history = History()
        self.findings_order = FindingOrder(())
        self.version = 0
        self._active = 0
        self._query = ""

    @property
    def timeline(self) -> TimelineView:
        """The time line."""
        return self.query_one(TimelineView)

    @property
    def slots(self) -> list[PanelView]:
        """All places for panels."""
        return list(self.query(PanelView))

    @property
    def shown_slots(self) -> list[PanelView]:
        """The places that the screen has room for."""
        return self.slots[: self.num_slots]

    @property
    def active_slot(self) -> PanelView:
        """The place that had the focus last."""
        focused = self.focused
        shown = self.shown_slots
        if isinstance(focused, PanelView) and focused in shown:
            self._active = shown.index(focused)
        return shown[min(self._active, len(shown) - 1)]

    @property
    def here(self) -> Place:
        """Where the user is."""
        slot = self.active_slot
        return Place(self.row, slot.panel_wanted, slot.target)

    def place_panels(self) -> None:
        """Show the places that there is room for."""
        zoomed = self.has_class("zoomed")
        shown = [self.active_slot] if zoomed else self.shown_slots
        for slot in self.slots:
            slot.set_class(slot in shown, "shown")
        panels = self.query_one("#panels")
        panels.set_class(len(shown) == 2, "two")
        panels.set_class(len(shown) == 4, "four")
        self.draw()

    def draw(self) -> None:
        """Have the step read and its panels drawn."""
        if not self.is_mounted:
            return
        width = max(40, self.active_slot.size.width - 2)
        self.look = replace(self.look, options=replace(self.look.options, width=width))
        if any(slot.panel_wanted == "distance" for slot in self.shown_slots):
            self.drawing.count_distances()
        sight = Sight(self.row, self.look, self.version)
        stale = [slot for slot in self.shown_slots if slot.drawn_of != (slot.panel_wanted, sight)]
        self.drawing.step(sight, [slot.panel_wanted for slot in stale])

    def go_to(
        self, row: int, panel: str = "", target: Target | None = None, *, remember: bool = True
    ) -> None:
        """Show a row, and in it a panel with something selected."""
        if remember:
            self.history.leave(self.here)
        if row != self.row and not isinstance(target, FindingTarget):
            self.found_number = None
        self.row, self.arrived = max(0, row), False
        self.timeline.put(self.row)
        if panel:
            self.open_panel(panel)
        self.wanted_target = (panel, target) if panel else None
        self.draw()

    def open_panel(self, name: str) -> PanelView:
        """Give a panel the focus, in its own place or in the active one."""
        slot = next((slot for slot in self.shown_slots if slot.panel_wanted == name), None)
        slot = slot or self.active_slot
        slot.panel_wanted = name
        self._active = self.shown_slots.index(slot)
        slot.focus()
        if self.has_class("zoomed"):
            self.place_panels()
        return slot

    def settle_target(self) -> None:
        """Select what was wanted, now that the panel is drawn; a finding finds its cell only now."""
        if self.wanted_target is None or self.step is None:
            return
        panel, target = self.wanted_target
        self.wanted_target = None
        if isinstance(target, FindingTarget):
            finding = self.view.findings[target.number]
            target = target_of(finding, self.look.applied(self.step)) if panel != "findings" else target
        slot = next((slot for slot in self.shown_slots if slot.panel == panel), None)
        if slot is not None and slot.select(target):
            slot.cursor_moved()

    def place_of(self, moment: Moment) -> tuple[str, Target | None]:
        """Return panel and target of a moment: a finding's own where one is there."""
        for number, finding in enumerate(self.view.findings):
            if finding.moment == moment:
                return panel_for(finding.column), FindingTarget(moment, finding.column, number)
        panel = PANEL_OF_STAGE.get(moment.stage, "")
        return panel, None if moment.node is None else NodeTarget(moment.node)

    def go_to_finding(self, number: int) -> None:
        """Show what a finding points to."""
        finding = self.view.findings[number]
        self.found_number = number
        target = FindingTarget(finding.moment, finding.column, number)
        self.drawing.locate(finding.moment, panel_for(finding.column), target)

    def follow_target(self, target: Target) -> None:
        """Go where a value leads: a finding to its cell, a node to its slot, a slot to who wrote it."""
        match target:
            case FindingTarget():
                self.go_to_finding(target.number)
            case CellTarget(query, _):
                self.go_to(self.row, "tree", NodeTarget(query))
            case NodeTarget(node):
                place = self._position_of(node)
                if self.active_slot.panel == "cache" or place is None:
                    self.go_to(self.row, "tree", target)
                else:
                    self.go_to(self.row, "cache", PositionTarget(place))
            case PositionTarget(position):
                self._go_to_writer(position)
            case SlotTarget(slot):
                self.find(f"slot {slot}", -1, beyond=None)

    def find(self, text: str, direction: int, beyond: int | None) -> None:
        """Search from here on."""
        self._query = text
        self.drawing.find(text, self.row, beyond, direction)

    def order_findings(self) -> None:
        """Take over the findings of the run."""
        self.findings_order = FindingOrder(self.view.findings)

    def say_status(self) -> None:
        """Write the line at the top."""
        moment = str(self.step.moment) if self.step is not None else "-"
        labels = self.view.labels[::-1] if self.look.swapped else self.view.labels
        shown = labels[:1] if self.look.one_side else labels
        parts = [
            safe_text(self.view.folder.name),
            moment,
            f"{self.row + 1 if self.view.num_rows else 0} of {self.view.num_rows}",
            self.view.proof(),
            " | ".join(shown[:2]) or "no path",
            f"{len(self.view.findings)} findings",
        ]
        parts += ["differences only"] if self.look.options.differences_only else []
        parts += ["following" if self.following else "paused"] if self.live else []
        self._say("#status", Content("  ".join(parts)))
        self.say_cursor()

    def say_cursor(self) -> None:
        """Write the finding that was gone to, and under it what the cursor is on."""
        self._say(
            "#finding",
            styled_text(finding_line(self.view, self.step, self.found_number, self.findings_order)),
        )
        target = self.active_slot.target
        if self.step is None:
            detail: Line = ()
        elif target is None and self.found_number is not None:
            detail = both_values(self.view.findings[self.found_number])
        else:
            detail = explain(self.look.applied(self.step), target)
        self._say("#detail", styled_text(detail))

    def _say(self, line: str, text: Content) -> None:
        """Write a line, if it is not written there already."""
        widget = self.query_one(line, Static)
        if widget.content != text:
            widget.update(text, layout=False)

    def _go_to_writer(self, position: int) -> None:
        """Go to the node that verify wrote to a position."""
        places = self.step.left.values("cache_positions") if self.step is not None else None
        if places and position in places:
            self.go_to(self.row, "tree", NodeTarget(places.index(position)))
        else:
            self.notify(f"no node of this step lies at position {position}")

    def _position_of(self, node: int) -> int | None:
        places = self.step.left.values("cache_positions") if self.step is not None else None
        return places[node] if places and node < len(places) else None
