"""The run: its time line, and the linked panels of the step under the cursor. The model holds all of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal
from textual.screen import Screen
from textual.widgets import Static

from tracing.moment import Moment
from workbench.tui.drawing import Drawing
from workbench.tui.editor import edit
from workbench.tui.keys import RUN_KEYS
from workbench.tui.messages import ModelCall, RunGrew, StepDrawn, TargetSelected, TimelineRead
from workbench.tui.screens.around import say_cursor, say_problems, say_status, say_strip, say_tabs
from workbench.tui.screens.help import HelpScreen
from workbench.tui.screens.jumps import JumpScreen
from workbench.tui.screens.prompt import PromptScreen
from workbench.tui.widgets.bars import KeyBar, StripView, TabBar
from workbench.tui.widgets.line_view import LineView
from workbench.tui.widgets.panel_view import PanelView
from workbench.tui.widgets.timeline_view import BLOCK, TimelineView
from workbench.view.history import Location
from workbench.view.panel_layout import FIRST_PANELS
from workbench.view.run_effects import Effects
from workbench.view.run_model import RunModel
from workbench.view.run_view import RunView
from workbench.view.targets import node_of

FOLLOW_SECONDS: Final = 0.5
READ_ON_AFTER: Final = 0.5
"""Seconds after which the rest of the files is read ahead of need: the first step is drawn first."""


class RunScreen(Screen[None]):
    """Shows one run, or two side by side: passes keys and what was read to the model, and paints it.

    Args:
        view: The run.
        moment: Where to begin; without one at the first step.
        follow: Show the last step of a run that is being written.

    Attributes:
        drawing: Reads in the background.
    """

    BINDINGS: ClassVar[list[BindingType]] = list(RUN_KEYS)

    def __init__(self, view: RunView, moment: Moment | None = None, *, follow: bool = False) -> None:
        super().__init__()
        self._begin = moment
        self.drawing = Drawing(view, self.post_message)
        self.model = RunModel(view, self.drawing, follow=follow)

    def compose(self) -> ComposeResult:
        """Lay out status, time line, panels and footer."""
        yield Static(id="status", markup=False)
        yield Static(id="problem", markup=False)
        yield StripView()
        yield TabBar()
        with Horizontal(id="body"):
            yield TimelineView(id="timeline")
            with Container(id="panels"):
                for number, panel in enumerate(FIRST_PANELS):
                    yield PanelView(panel, id=f"slot{number}")
        yield Static(id="finding", markup=False)
        yield Static(id="detail", markup=False)
        yield KeyBar(RUN_KEYS)

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
        return self.slots[: self.model.layout.num_slots]

    @property
    def active_slot(self) -> PanelView:
        """The place that had the focus last."""
        return self.slots[self.model.layout.active]

    def on_mount(self) -> None:
        """Begin to read."""
        self.timeline.border_title = "steps"
        self.timeline.focus()
        self.model.start(self._begin)
        self._apply()
        say_problems(self, self.model)
        self.set_timer(READ_ON_AFTER, self.read_on)
        if self.model.view.other_folder is not None:
            self.drawing.compare()
        if self.model.live:
            self.set_interval(FOLLOW_SECONDS, self.drawing.refresh)

    def read_on(self) -> None:
        """Read the keys of all steps, which finding a moment needs, prove the rest, and read the strip."""
        self.drawing.index()
        self.drawing.prove()
        self.drawing.count_strip()

    def on_unmount(self) -> None:
        """Stop reading."""
        self.drawing.stop()

    def on_resize(self, event: events.Resize) -> None:
        """Show as many panels as there is room for."""
        self.timeline.fit(event.size.width)
        self._do(lambda model: model.resize(event.size.width, event.size.height))

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Note which panel has the focus."""
        if isinstance(event.widget, PanelView):
            self.model.layout.active = self.slots.index(event.widget)
            self._say_tabs()

    @on(TimelineView.BlocksWanted)
    def _read_blocks(self, message: TimelineView.BlocksWanted) -> None:
        self.drawing.blocks(message.blocks, BLOCK)

    @on(TimelineView.Opened)
    def _focus_panel(self) -> None:
        self.active_slot.focus()

    @on(TimelineRead)
    def _take_rows(self, message: TimelineRead) -> None:
        self.timeline.take(message.start, message.rows)

    @on(ModelCall)
    def _call_model(self, message: ModelCall) -> None:
        self._do(message.call)

    @on(StepDrawn)
    def _take_step(self, message: StepDrawn) -> None:
        slots = self.slots
        for number in self.model.step_drawn(message.sight, message.step, message.lines):
            panel = self.model.layout.slots[number].shown
            slots[number].show(panel, message.lines[panel])
        selection = self.model.settle()
        if selection is not None and slots[selection[0]].select(selection[1]):
            slots[selection[0]].cursor_moved()
        self._say_status()
        self._say_tabs()

    @on(TargetSelected)
    def _link(self, message: TargetSelected) -> None:
        for slot in self.shown_slots:
            if slot.panel != message.panel:
                slot.link(message.target)
        kin = self.model.kin(node_of(message.target))
        for slot in self.shown_slots:
            slot.set_kin(kin)
        self._say_cursor()

    @on(RunGrew)
    def _take_more(self) -> None:
        self._do(RunModel.run_grew)
        say_problems(self, self.model)
        self.read_on()

    def action_do(self, name: str, arguments: tuple[object, ...] = ()) -> None:
        """Call a method of the model by its name, as the bindings do."""
        self._do(lambda model: getattr(model, name)(*arguments))

    def action_go_to(self) -> None:
        """Ask for a moment and go there."""
        self._ask(":", "prompt:turn:step:stage:node", RunModel.locate_text)

    def action_find(self) -> None:
        """Ask what to find and find it."""
        self._ask("/", "token text, node N, pos N, slot N, id N, or a rule", RunModel.find)

    def action_find_again(self, direction: int) -> None:
        """Find the next one, or the one before."""
        if self.model.query:
            self._do(lambda model: model.find_again(direction))
        else:
            self.action_find()

    def action_jumps(self) -> None:
        """List the places that the user was at, and go to one."""
        places = self.model.jumps()
        if not places:
            self._do(lambda model: model.notify("nowhere to go back to yet"))
            return

        def take(place: Location | None) -> None:
            if place is not None:
                self._do(lambda model: model.jump(place))

        self.app.push_screen(JumpScreen(places), take)

    def action_theme(self) -> None:
        """Light or dark."""
        self.app.theme = "textual-light" if self.app.current_theme.dark else "textual-dark"

    def action_help(self) -> None:
        """Show the keys of what has the focus, those of its kind before those of all line views."""
        focused = self.focused
        title = focused.panel if isinstance(focused, PanelView) else "timeline"
        kinds = (type(focused), LineView) if isinstance(focused, LineView) else ()
        own = [each for kind in kinds for each in kind.BINDINGS if isinstance(each, Binding)]
        self.app.push_screen(HelpScreen(title, own, RUN_KEYS))

    def _ask(self, sign: str, hint: str, then: Callable[[RunModel, str], None]) -> None:
        """Ask for a line and give it to the model."""

        def take(text: str | None) -> None:
            if text:
                self._do(lambda model: then(model, text))

        self.app.push_screen(PromptScreen(sign, hint), take)

    def _do(self, change: Callable[[RunModel], object]) -> None:
        """Change the model, and do what it asks for."""
        self._sync()
        change(self.model)
        self._apply()

    def _sync(self) -> None:
        """Tell the model what the cursor is on."""
        slot = self.active_slot
        self.model.cursor(slot.target, slot.linked, slot.size.width - 1)

    def _apply(self) -> None:
        """Do what the model asks for, and show its panels."""
        effects, layout = self.model.take_effects(), self.model.layout
        if effects.rows:
            self.timeline.set_rows(self.model.listed, self.model.view.most_accepted)
            self.timeline.border_title = "findings" if self.model.only_findings else "steps"
        if effects.scroll:
            self.timeline.put(self.model.row)
        self.set_class(layout.zoomed, "zoomed")
        for number, slot in enumerate(self.slots):
            slot.set_class(number in layout.visible, "shown")
        panels = self.query_one("#panels")
        panels.set_class(len(layout.visible) == 2, "two")
        panels.set_class(len(layout.visible) == 4, "four")
        if effects.focus:
            self.active_slot.focus()
        if effects.status:
            self._say_status()
        self._say_tabs()
        self._reach_out(effects)

    def _reach_out(self, effects: Effects) -> None:
        """Do what the model asks for beyond the panels: clipboard, editor, messages."""
        if effects.clipboard:
            self.app.copy_to_clipboard(effects.clipboard)
        if effects.edit is not None:
            problem = edit(self.app, effects.edit, self.model.view.folder)
            if problem:
                self.notify(problem, severity="warning", markup=False)
        if effects.notifications:
            self.app.clear_notifications()  # the newest says what holds now
        for each in effects.notifications:
            self.notify(each.text, severity=each.severity, timeout=each.seconds, markup=False)

    def _say_status(self) -> None:
        """Write the lines around the panels."""
        say_status(self, self.model)
        say_strip(self, self.model)
        self._say_cursor()

    def _say_cursor(self) -> None:
        self._sync()
        say_cursor(self, self.model)

    def _say_tabs(self) -> None:
        say_tabs(self, self.model)
