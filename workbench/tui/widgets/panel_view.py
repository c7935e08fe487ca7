"""One panel of the step: its lines, a cursor on the things in them, and links to the other panels."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import Binding, BindingType

from workbench.tui.messages import ModelCall, TargetSelected
from workbench.tui.widgets.line_view import SIDEWAYS, LineView, width_of
from workbench.view.lines import LazyLines, Line, Lines, targets_of, wrong_starts
from workbench.view.targets import NodeTarget, Target, node_of


class PanelView(LineView):
    """Shows one panel.

    Attributes:
        panel: The panel whose lines it shows.
        linked: What is selected in another panel.
        kin: Ancestors of the node that is selected here or there.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l,right", "sideways(1)", "Right", show=False, id="panel.right"),
        Binding("h,left", "sideways(-1)", "Left", show=False, id="panel.left"),
        Binding("w", "wrong(1)", "Next thing marked wrong in this panel", show=False, id="panel.next_wrong"),
        Binding("W", "wrong(-1)", "The one before it", show=False, id="panel.previous_wrong"),
        Binding("enter", "follow", "Follow", id="panel.follow"),
    ]

    def __init__(self, panel: str, **options: Any) -> None:
        super().__init__(**options)
        self.panel = panel
        self.linked: Target | None = None
        self.kin: frozenset[int] = frozenset()
        self._cell = 0  # where the cursor would be if the line were long enough

    @property
    def target(self) -> Target | None:
        """What the cursor is on."""
        found = self._target_at(self.cursor)
        return None if found is None else found[2]

    def show(self, panel: str, lines: Lines) -> None:
        """Take over lines of a panel; the cursor stays on its line where the panel is the same."""
        fresh = panel != self.panel
        self.panel, self._lines = panel, lines
        self.border_title = panel
        self.resize_content(width_of(lines) + 1)
        if fresh:
            self.cursor, self._cell = 0, 0
            self.scroll_to(0, 0, animate=False, force=True)
        self.refresh()

    def link(self, target: Target | None) -> None:
        """Show what is selected in another panel, scrolling to it where it is not in sight."""
        same_node = node_of(target) == node_of(self.linked)
        self.linked = target
        number = self._line_with(target)
        if number is not None:
            self.show_line(number)
        if not same_node:
            self.refresh()

    def select(self, target: Target | None) -> bool:
        """Put the cursor on something; return whether this panel has it."""
        number = self._line_with(target)
        if number is None:
            return False
        for start, _, each in targets_of(self._lines[number]):
            if each == target or node_of(each) == node_of(target):
                self._cell = start
                if each == target:
                    break
        self.move_cursor(number)
        self._show_cell()
        return True

    def is_linked(self, line: Line) -> bool:
        """Say whether a line is about the node that is selected elsewhere."""
        node = node_of(self.linked)
        return node is not None and any(node_of(each) == node for _, _, each in targets_of(line))

    def set_kin(self, kin: frozenset[int]) -> None:
        """Highlight the lines of some nodes."""
        if kin != self.kin:
            self.kin = kin
            self.refresh()

    def is_kin(self, line: Line) -> bool:
        """Say whether a line begins with an ancestor of the node that is selected."""
        first = next((each for _, _, each in targets_of(line)), None) if self.kin else None
        return isinstance(first, NodeTarget) and first.node in self.kin

    def cursor_cells(self, line: Line) -> tuple[int, int]:
        """Return the cells of what the cursor is on, or of the whole line."""
        found = self._nearest(line)
        return super().cursor_cells(line) if found is None else (found[0], found[1])

    def cursor_moved(self) -> None:
        """Report what the cursor is on."""
        self.post_message(TargetSelected(self.panel, self.target))

    def clicked(self, number: int, cell: int, times: int) -> None:
        """Put the cursor on what was clicked; a double click follows it."""
        if number >= self.num_lines:
            return
        self._cell = cell
        self.move_cursor(number)
        self.refresh()
        self.cursor_moved()
        if times > 1:
            self.action_follow()

    def action_sideways(self, direction: int) -> None:
        """Move to the next thing in the line, or to the one before it; scroll where there is none."""
        targets = list(targets_of(self._lines[self.cursor])) if self._lines else []
        here = self._target_at(self.cursor)
        place = targets.index(here) + direction if here is not None else -1
        if 0 <= place < len(targets):
            self._cell = targets[place][0]
            self._show_cell()
            self.refresh()
            self.cursor_moved()
        else:
            self.scroll_relative(x=SIDEWAYS * direction, animate=False, force=True)

    def action_wrong(self, direction: int) -> None:
        """Move to the next or previous thing that is marked wrong or different."""
        here = self._target_at(self.cursor)
        cell = here[0] if here is not None else -1
        ahead = range(self.cursor, self.num_lines) if direction > 0 else range(self.cursor, -1, -1)
        for number in ahead:
            starts = wrong_starts(self._lines[number])
            if number == self.cursor:
                starts = [each for each in starts if (each - cell) * direction > 0]
            if starts:
                self._cell = starts[0] if direction > 0 else starts[-1]
                self.move_cursor(number)
                self._show_cell()
                self.cursor_moved()
                return
        self.notify(f"nothing marked wrong {'after' if direction > 0 else 'before'} this in {self.panel}")

    def action_follow(self) -> None:
        """Go where the thing under the cursor leads."""
        target = self.target
        if target is not None:
            self.post_message(ModelCall(lambda model: model.follow_target(target)))

    def _show_cell(self) -> None:
        found = self._target_at(self.cursor)
        if found is not None:
            self.show_cells(self.cursor, found[0], min(found[1] - found[0], 4))

    def _target_at(self, number: int) -> tuple[int, int, Target] | None:
        return self._nearest(self._lines[number]) if number < self.num_lines else None

    def _nearest(self, line: Line) -> tuple[int, int, Target] | None:
        """Return the thing in a line that is nearest to where the cursor would be."""
        return min(
            targets_of(line),
            key=lambda each: max(each[0] - self._cell, self._cell - each[1] + 1, 0),
            default=None,
        )

    def _line_with(self, target: Target | None) -> int | None:
        """Return the line with a thing, else the first that is about the same node."""
        if target is None:
            return None
        if isinstance(self._lines, LazyLines) and self._lines.find is not None:
            return self._lines.find(target)
        node, near = node_of(target), None
        for number, line in enumerate(self._lines):
            for _, _, each in targets_of(line):
                if each == target:
                    return number
                if near is None and node is not None and node_of(each) == node:
                    near = number
        return near
