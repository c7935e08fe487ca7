"""The time line: one line per step, read a block at a time when it becomes visible."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, ClassVar, Final

from textual.binding import Binding, BindingType
from textual.message import Message

from workbench.tui.messages import ModelCall
from workbench.tui.widgets.line_view import LineView
from workbench.view.lines import Line, note
from workbench.view.timeline import TimelineRow, timeline_line

BLOCK: Final = 64
MAX_BLOCKS: Final = 64


class TimelineView(LineView):
    """Scrolls over any number of steps; keeps the last blocks that were looked at."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "To the panels", show=False, id="timeline.open"),
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
        self._num_rows = 0
        self._scale = 8
        self._blocks: OrderedDict[int, list[TimelineRow]] = OrderedDict()
        self._stale: set[int] = set()
        self._asked: tuple[int, ...] = ()

    @property
    def num_lines(self) -> int:
        """Steps there are."""
        return self._num_rows

    def set_rows(self, num_rows: int, scale: int) -> None:
        """Take over a number of steps; rows are read again, as a live run may have changed them."""
        self._num_rows, self._scale = num_rows, scale
        self._stale = set(self._blocks)
        self._asked = ()
        self.resize_content(1)  # never wider than the window
        self.refresh()

    def take(self, start: int, rows: list[TimelineRow]) -> None:
        """Take over a block of rows."""
        self._blocks[start // BLOCK] = rows
        self._stale.discard(start // BLOCK)
        self._blocks.move_to_end(start // BLOCK)
        while len(self._blocks) > MAX_BLOCKS:
            self._blocks.popitem(last=False)
        self._asked = ()
        self.refresh()

    def put(self, row: int) -> None:
        """Move the cursor without a message to the screen."""
        with self.prevent(ModelCall):
            self.move_cursor(row)

    def content_line(self, number: int) -> Line:
        """Return one step, or a placeholder until its block is read."""
        rows = self._blocks.get(number // BLOCK)
        if rows is None or number // BLOCK in self._stale:
            self._ask()
        if rows is None or number % BLOCK >= len(rows):
            return note(f"… {number}")
        return timeline_line(rows[number % BLOCK], self._scale, self.size.width)

    def cursor_moved(self) -> None:
        """Report which step is wanted."""
        row = self.cursor
        self.post_message(ModelCall(lambda model: model.choose_row(row)))

    def action_open(self) -> None:
        """Go to the panels."""
        self.post_message(self.Opened())

    def _ask(self) -> None:
        """Ask for the blocks in sight that are not read."""
        first = self.scroll_offset.y // BLOCK
        last = min(self.scroll_offset.y + self.size.height, self._num_rows - 1) // BLOCK
        missing = tuple(
            block for block in range(first, last + 1) if block not in self._blocks or block in self._stale
        )
        if missing and missing != self._asked:
            self._asked = missing
            self.post_message(self.BlocksWanted(missing))
