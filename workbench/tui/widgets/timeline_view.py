"""The time line: one line per step, read a block at a time when it becomes visible."""

from __future__ import annotations

import bisect
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from textual.binding import Binding, BindingType
from textual.message import Message

from workbench.tui.messages import ModelCall
from workbench.tui.widgets.line_view import LineView
from workbench.view.lines import Line, note
from workbench.view.timeline import ListColumns, TimelineRow, place_text, timeline_line

BLOCK: Final = 64
MAX_BLOCKS: Final = 64
EDGES: Final = 3
"""Cells of border and scroll bar."""


class TimelineView(LineView):
    """Scrolls over any number of steps; keeps the last blocks that were looked at."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "To the panels", show=False, id="timeline.open")
    ]

    class BlocksWanted(Message):
        """Blocks that are in sight and not read yet."""

        def __init__(self, blocks: tuple[int, ...]) -> None:
            super().__init__()
            self.blocks = blocks

    class Opened(Message):
        """The user wants to go to the panels."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._rows: Sequence[int] = range(0)
        self._scale = 8
        self._columns = ListColumns()
        self._screen_columns = 80
        self._blocks: OrderedDict[int, list[TimelineRow]] = OrderedDict()
        self._stale: set[int] = set()
        self._asked: tuple[int, ...] = ()

    @property
    def num_lines(self) -> int:
        """Steps that are listed."""
        return len(self._rows)

    def fit(self, screen_columns: int) -> None:
        """Be as wide as a screen of so many columns has room for."""
        self._screen_columns = screen_columns
        self._set_width(self._columns.place)

    def set_rows(self, rows: Sequence[int], scale: int) -> None:
        """Take over which steps to list; they are read again, as a live run may have changed them."""
        here = self._rows[self.cursor] if self.cursor < len(self._rows) else 0
        self._rows, self._scale = rows, scale
        self._stale = set(self._blocks)
        self._asked = ()
        self.resize_content(1)  # never wider than the window
        self.put(here)
        self.refresh()

    def take(self, start: int, rows: list[TimelineRow]) -> None:
        """Take over a block of rows."""
        self._blocks[start // BLOCK] = rows
        self._stale.discard(start // BLOCK)
        self._blocks.move_to_end(start // BLOCK)
        while len(self._blocks) > MAX_BLOCKS:
            self._blocks.popitem(last=False)
        self._asked = ()
        self._set_width(max((len(place_text(row.key)) for row in rows), default=0))
        self.refresh()

    def put(self, row: int) -> None:
        """Move the cursor to a row, or to the one listed before it, without a message to the screen."""
        with self.prevent(ModelCall):
            self.move_cursor(max(0, bisect.bisect_right(self._rows, row) - 1))

    def content_line(self, number: int) -> Line:
        """Return one step, or a placeholder until its block is read."""
        row = self._rows[number]
        rows = self._blocks.get(row // BLOCK)
        if rows is None or row // BLOCK in self._stale:
            self._ask()
        if rows is None or row % BLOCK >= len(rows):
            return note(f"… {row}")
        return timeline_line(rows[row % BLOCK], self._scale, self._columns)

    def cursor_moved(self) -> None:
        """Report which step is wanted."""
        row = self._rows[self.cursor] if self._rows else 0
        self.post_message(ModelCall(lambda model: model.choose_row(row)))

    def action_open(self) -> None:
        """Go to the panels."""
        self.post_message(self.Opened())

    def _set_width(self, place: int) -> None:
        """Take over how many cells a place needs; the widest one seen counts."""
        self._columns = ListColumns.for_screen(self._screen_columns, max(self._columns.place, place))
        self.styles.width = self._columns.width + EDGES

    def _ask(self) -> None:
        """Ask for the blocks in sight that are not read."""
        first = self.scroll_offset.y
        shown = self._rows[first : first + self.size.height + 1]
        missing = tuple(
            block
            for block in dict.fromkeys(row // BLOCK for row in shown)
            if block not in self._blocks or block in self._stale
        )
        if missing and missing != self._asked:
            self._asked = missing
            self.post_message(self.BlocksWanted(missing))
