"""A scrolling view of lines with a cursor on what they stand for; every panel and the time line are one."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from workbench.view.lines import Line, Role
from workbench.view.width import cell_width


class LineView(ScrollView, can_focus=True):
    """Draws line `y` of its content when it comes into sight; `content_line` is what a subclass gives.

    Attributes:
        cursor: Number of the line under the cursor.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "line--title",
        "line--dim",
        "line--good",
        "line--bad",
        "line--warn",
        "line--accent",
        "line--cursor",
        "line--linked",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "down", "Down", show=False, id="line.down"),
        Binding("k,up", "up", "Up", show=False, id="line.up"),
        Binding("ctrl+d", "page(0.5)", "Half a page down", show=False, id="line.half_down"),
        Binding("ctrl+u", "page(-0.5)", "Half a page up", show=False, id="line.half_up"),
        Binding("space,pagedown,ctrl+f", "page(1)", "Page down", show=False, id="line.page_down"),
        Binding("pageup,ctrl+b", "page(-1)", "Page up", show=False, id="line.page_up"),
        Binding("g,home", "first", "First line", show=False, id="line.first"),
        Binding("G,end", "last", "Last line", show=False, id="line.last"),
    ]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.cursor = 0

    @property
    def num_lines(self) -> int:
        """How many lines there are."""
        return 0

    def content_line(self, number: int) -> Line:
        """Return one line."""
        raise NotImplementedError

    def is_linked(self, _line: Line) -> bool:
        """Say whether a line shows what is selected elsewhere."""
        return False

    def cursor_cells(self, line: Line) -> tuple[int, int]:
        """Return the cells of a line that the cursor covers."""
        return 0, max(1, sum(cell_width(span.text) for span in line))

    def move_cursor(self, number: int) -> None:
        """Put the cursor on a line and bring it into sight."""
        number = min(max(0, number), max(0, self.num_lines - 1))
        moved = number != self.cursor
        self.cursor = number
        self.scroll_to_region(Region(0, number, 1, 1), animate=False, x_axis=False, force=True)
        self.refresh()
        if moved:
            self.cursor_moved()

    def cursor_moved(self) -> None:
        """Called after the cursor came to another line."""

    def resize_content(self, width: int) -> None:
        """Take over a new number of lines."""
        self.virtual_size = Size(width, self.num_lines)
        self.cursor = min(self.cursor, max(0, self.num_lines - 1))

    def render_line(self, y: int) -> Strip:
        """Draw one line of the window."""
        scroll_x, scroll_y = self.scroll_offset
        number, width = scroll_y + y, self.size.width
        base = self.rich_style
        if number >= self.num_lines:
            return Strip.blank(width, base)
        line = self.content_line(number)
        linked = self.is_linked(line)
        strip = Strip([Segment(span.text, self._style(span.role, base)) for span in line])
        if linked:
            strip = strip.apply_style(self.get_component_rich_style("line--linked", partial=True))
        if number == self.cursor:
            strip = self._with_cursor(strip, line)
        return strip.crop_extend(scroll_x, scroll_x + width, base)

    def _with_cursor(self, strip: Strip, line: Line) -> Strip:
        start, stop = self.cursor_cells(line)
        strip = strip.adjust_cell_length(max(strip.cell_length, stop))
        style = (
            self.get_component_rich_style("line--cursor", partial=True)
            if self.has_focus
            else Style(underline=True)
        )
        before, here, after = strip.divide([start, stop, max(stop, strip.cell_length)])
        return Strip.join([before, here.apply_style(style), after])

    def _style(self, role: Role, base: Style) -> Style:
        return (
            base if role == "plain" else base + self.get_component_rich_style(f"line--{role}", partial=True)
        )

    def action_down(self) -> None:
        """Move the cursor down a line."""
        self.move_cursor(self.cursor + 1)

    def action_up(self) -> None:
        """Move the cursor up a line."""
        self.move_cursor(self.cursor - 1)

    def action_page(self, pages: float) -> None:
        """Move the cursor by pages."""
        self.move_cursor(self.cursor + int(pages * max(2, self.size.height - 1)))

    def action_first(self) -> None:
        """Move the cursor to the first line."""
        self.move_cursor(0)

    def action_last(self) -> None:
        """Move the cursor to the last line."""
        self.move_cursor(self.num_lines - 1)

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where the mouse is."""
        offset = event.get_content_offset(self)
        if offset is not None:
            self.clicked(offset.y + self.scroll_offset.y, offset.x + self.scroll_offset.x, event.chain)

    def clicked(self, number: int, _cell: int, _times: int) -> None:
        """Handle a click on a line."""
        if number < self.num_lines:
            self.move_cursor(number)
