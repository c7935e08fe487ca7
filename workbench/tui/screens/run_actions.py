"""What the keys of the run screen do; the layout and what comes back from reading stand in `run.py`."""

from __future__ import annotations

from dataclasses import replace

from textual.binding import Binding

from tracing.errors import UsageError
from tracing.moment import Moment
from workbench.tui.history import Place
from workbench.tui.keys import RUN_KEYS
from workbench.tui.screens.help import HelpScreen
from workbench.tui.screens.prompt import PromptScreen
from workbench.tui.screens.run_state import STAGE_OF_PANEL, RunState
from workbench.tui.widgets.line_view import LineView
from workbench.tui.widgets.panel_view import PanelView
from workbench.view.panels import panel_for
from workbench.view.safe_text import safe_text
from workbench.view.targets import (
    FindingTarget,
    NodeTarget,
    Target,
    node_of,
    text_of,
)


class RunActions(RunState):
    """Every action that a key, a command of the palette or the footer may call."""

    def action_move(self, unit: str, direction: int) -> None:
        """Move by a step, turn or prompt."""
        self.following = False
        self.found_number = None
        if unit == "step":
            self.go_to(min(max(self.row + direction, 0), max(0, self.view.num_rows - 1)), remember=False)
        else:
            self.drawing.move(self.row, unit, direction)

    def action_finding(self, direction: int) -> None:
        """Go to the next or previous finding."""
        if self.step is None:
            return
        number = self.findings_order.next(self.step.moment, self.found_number, direction)
        if number is None:
            where = "after" if direction > 0 else "before"
            self.notify(f"no finding {where} this step", severity="warning")
        else:
            self.go_to_finding(number)

    def action_first_finding(self) -> None:
        """Go to the first divergence."""
        number = self.findings_order.first_divergence()
        if number is None:
            self.notify(self.view.judged())
        else:
            self.go_to_finding(number)

    def action_check(self) -> None:
        """Look for the next step that breaks a rule; from the first step on where none is looked at yet."""
        self.following = False
        at_start = self.row == 0 and self.found_number is None
        self.notify("checking from here on", timeout=2)
        self.drawing.check(-1 if at_start else self.row)

    def action_panel(self, name: str) -> None:
        """Open a panel, on the finding that was gone to where it shows that, else on what is selected."""
        target = self._selected()
        if self.found_number is not None:
            finding = self.view.findings[self.found_number]
            if panel_for(finding.column) == name:
                target = FindingTarget(finding.moment, finding.column, self.found_number)
        stays = self.active_slot.panel == name
        self.open_panel(name)
        self.wanted_target = None if stays else (name, target)
        self.draw()

    def action_go_to(self) -> None:
        """Ask for a moment and go there."""
        self.app.push_screen(PromptScreen(":", "prompt:turn:step:stage:node"), self._go_to_text)

    def action_find(self) -> None:
        """Ask what to find and find it."""
        hint = "token text, node N, pos N, slot N, id N, or a rule"
        self.app.push_screen(PromptScreen("/", hint), self._find_text)

    def action_find_again(self, direction: int) -> None:
        """Find the next one, or the one before."""
        if self._query:
            self.find(self._query, direction, node_of(self.active_slot.target))
        else:
            self.action_find()

    def action_back(self) -> None:
        """Go back to where the user was."""
        self._return_to(self.history.back(self.here), "nothing further back")

    def action_forward(self) -> None:
        """Go forward again."""
        self._return_to(self.history.forward(self.here), "nothing further forward")

    def action_swap(self) -> None:
        """Exchange the sides."""
        self.look = replace(self.look, swapped=not self.look.swapped)
        self.draw()

    def action_one_side(self) -> None:
        """Show one side or both."""
        self.look = replace(self.look, one_side=not self.look.one_side)
        self.draw()

    def action_differences(self) -> None:
        """Show everything, or only what differs."""
        options = self.look.options
        self.look = replace(
            self.look, options=replace(options, differences_only=not options.differences_only)
        )
        self.draw()

    def action_zoom(self) -> None:
        """Make the active panel as large as the screen, or small again."""
        slot = self.active_slot
        self.toggle_class("zoomed")
        self.place_panels()
        slot.focus()

    def action_copy_moment(self) -> None:
        """Copy the moment, to paste in an issue."""
        if self.step is not None:
            slot = self.active_slot
            node, stage = node_of(slot.target), STAGE_OF_PANEL.get(slot.panel, "")
            moment = replace(self.step.moment, stage=stage, node=node) if stage else self.step.moment
            self._copy(str(moment))

    def action_copy_value(self) -> None:
        """Copy what the cursor is on."""
        target = self.active_slot.target
        if target is None:
            self.notify("there is no value under the cursor to copy")
        else:
            self._copy(text_of(target))

    def action_follow_run(self) -> None:
        """Follow the run or pause."""
        if not self.live:
            self.notify("start with --follow to go along with a run that is being written")
            return
        self.following = not self.following
        if self.following:
            self.go_to(self.view.num_rows - 1)
        self.say_status()

    def action_theme(self) -> None:
        """Light or dark."""
        self.app.theme = "textual-light" if self.app.current_theme.dark else "textual-dark"

    def action_next_path(self) -> None:
        """Show the next path first, at the same step."""
        name = self.view.show_next_path()
        if not name:
            self.notify("this run has no other path")
            return
        self.version += 1
        self.timeline.set_rows(self.view.num_rows, self.view.most_accepted)
        if self.step is not None:
            self.drawing.locate(self.step.moment)
        self.draw()

    def action_help(self) -> None:
        """Show the keys of what has the focus."""
        focused = self.focused
        title = focused.panel if isinstance(focused, PanelView) else "timeline"
        own = _bindings_of(focused)
        self.app.push_screen(HelpScreen(title, own, RUN_KEYS))

    def action_quit_view(self) -> None:
        """Leave."""
        self.dismiss(None)

    def _selected(self) -> Target | None:
        node = node_of(self.active_slot.target) if self.active_slot.target else None
        linked = node_of(self.active_slot.linked)
        node = node if node is not None else linked
        return None if node is None else NodeTarget(node)

    def _go_to_text(self, text: str | None) -> None:
        if not text:
            return
        try:
            moment = Moment.parse(text)
        except UsageError as problem:
            self.notify(safe_text(str(problem)), severity="error", markup=False)
            return
        self.drawing.locate(moment, *self.place_of(moment))

    def _find_text(self, text: str | None) -> None:
        if text:
            self.find(text, 1, node_of(self.active_slot.target))

    def _return_to(self, place: Place | None, otherwise: str) -> None:
        if place is None:
            self.notify(otherwise)
        else:
            self.go_to(place.row, place.panel, place.target, remember=False)

    def _copy(self, text: str) -> None:
        self.app.copy_to_clipboard(text)
        self.notify(f"copied {text}", timeout=2, markup=False)


def _bindings_of(widget: object) -> list[Binding]:
    """Return the keys of a widget, those of its kind before those of all line views."""
    if not isinstance(widget, LineView):
        return []
    kinds = (type(widget), LineView)
    return [each for kind in kinds for each in kind.BINDINGS if isinstance(each, Binding)]
