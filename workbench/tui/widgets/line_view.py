"""A scrolling view of lines with a cursor; every panel and the time line are one."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import Any, ClassVar, get_args

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from workbench.view.lines import LazyLines, Line, Lines, Role, line_text
from workbench.view.width import cell_width

SIDEWAYS = 8
"""Cells by which a line is scrolled sideways."""

SAMPLE = 64
"""Lines that are measured for the width of a long panel."""

CUT_BEFORE, CUT_AFTER = "«", "»"


class LineView(ScrollView, can_focus=True):
    """Draws line `y` of its content when it becomes visible; a subclass may have lines that it makes itself.

    Args:
        lines: The lines.
        title: Title of the border.
        options: Of every Textual widget.

    Attributes:
        cursor: Number of the line under the cursor.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"line--{name}" for name in (*get_args(Role), "cursor", "linked", "kin")
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "down(1)", "Down", show=False, id="line.down"),
        Binding("k,up", "down(-1)", "Up", show=False, id="line.up"),
        Binding("ctrl+d", "page(0.5)", "Half a page down", show=False, id="line.half_down"),
        Binding("ctrl+u", "page(-0.5)", "Half a page up", show=False, id="line.half_up"),
        Binding("space,pagedown,ctrl+f", "page(1)", "Page down", show=False, id="line.page_down"),
        Binding("pageup,ctrl+b", "page(-1)", "Page up", show=False, id="line.page_up"),
        Binding("g,home", "first", "First line", show=False, id="line.first"),
        Binding("G,end", "last", "Last line", show=False, id="line.last"),
    ]

    def __init__(self, lines: Lines = (), title: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.border_title = title
        self.cursor = 0
        self._dim = (Style.null(), Style.null())
        self._lines = lines
        if lines:
            self.resize_content(width_of(lines))

    def show_lines(self, lines: Lines, title: str) -> None:
        """Take over other lines; the cursor goes to the first one."""
        self._lines, self.border_title, self.cursor = lines, title, 0
        self.resize_content(width_of(lines))
        self.refresh()

    @property
    def num_lines(self) -> int:
        """How many lines there are."""
        return len(self._lines)

    @property
    def sticky(self) -> range:
        """Lines that stay at the top when those after them are scrolled, e.g. the numbers of the keys."""
        return self._lines.sticky if isinstance(self._lines, LazyLines) else range(0)

    @property
    def stem(self) -> int:
        """Cells at the left that stay when the rest of a line is scrolled, e.g. the number of the query."""
        return self._lines.stem if isinstance(self._lines, LazyLines) else 0

    def content_line(self, number: int) -> Line:
        """Return one line."""
        return self._lines[number]

    def is_linked(self, _line: Line) -> bool:
        """Say whether a line shows what is selected elsewhere."""
        return False

    def is_kin(self, _line: Line) -> bool:
        """Say whether a line is about an ancestor of what is selected."""
        return False

    def cursor_cells(self, line: Line) -> tuple[int, int]:
        """Return the cells of a line that the cursor covers."""
        return 0, max(1, sum(cell_width(span.text) for span in line))

    def move_cursor(self, number: int) -> None:
        """Put the cursor on a line and bring it into sight."""
        number = min(max(0, number), max(0, self.num_lines - 1))
        before, self.cursor = self.cursor, number
        self.show_line(number)
        self.refresh_line(number)
        if before != number:
            self.refresh_line(before)
            self.cursor_moved()

    def cursor_moved(self) -> None:
        """Called after the cursor came to another line."""

    def resize_content(self, width: int) -> None:
        """Take over a new number of lines."""
        size = Size(width, self.num_lines)
        self.cursor = min(self.cursor, max(0, self.num_lines - 1))
        if size != self.virtual_size:
            # Set as a reactive it would lay out the whole screen anew, though the bars stay as they are.
            self.set_reactive(LineView.virtual_size, size)
            self.vertical_scrollbar.window_virtual_size = size.height
            inside = min(self.scroll_x, self.max_scroll_x), min(self.scroll_y, self.max_scroll_y)
            self.scroll_to(*inside, animate=False, force=True)

    def show_line(self, number: int) -> None:
        """Scroll a line into sight."""
        shown = self._amid(number, self._under_sticky(number, 0, 1))
        self.scroll_to_region(shown, animate=False, x_axis=False, force=True)

    def show_cells(self, number: int, start: int, width: int) -> None:
        """Scroll some cells of a line into sight."""
        left = max(0, start - 1)  # the marks of a cut line must not cover the cells
        cells = self._under_sticky(number, left, start - left + width + 1)
        self.scroll_to_region(self._amid(number, cells), animate=False, force=True)

    def render_line(self, y: int) -> Strip:
        """Draw one line of the window."""
        width, base = self.scrollable_content_region.width, self.rich_style
        number = self._number_at(y)
        if number >= self.num_lines:
            return Strip.blank(width, base)
        line = self.content_line(number)
        strip = Strip(
            Segment("".join(span.text for span in spans), self._style(role, base))
            for role, spans in groupby(line, key=attrgetter("role"))
        )
        if self.is_linked(line):
            strip = strip.apply_style(self.get_component_rich_style("line--linked", partial=True))
        elif self.is_kin(line):
            strip = strip.apply_style(self.get_component_rich_style("line--kin", partial=True))
        if number == self.cursor:
            strip = self._with_cursor(strip, line)
        left = self.scroll_offset.x
        if left and self.stem:
            rest = strip.crop_extend(left + self.stem, left + max(width, self.stem), base)
            shown = Strip.join([strip.crop_extend(0, self.stem, base), rest]).crop_extend(0, width, base)
        else:
            shown = strip.crop_extend(left, left + width, base)
        return self._with_cuts(shown, left > 0, strip.cell_length > left + width)

    def _with_cuts(self, shown: Strip, before: bool, after: bool) -> Strip:
        """Mark a line that extends to the left or right of the window, as `less -S` does."""
        if not (before or after):
            return shown
        style, width = self._style("accent", self.rich_style), shown.cell_length
        if after and width:
            shown = Strip.join([shown.crop(0, width - 1), Strip([Segment(CUT_AFTER, style)])])
        if before and width > self.stem:
            mark = Strip([Segment(CUT_BEFORE, style)])
            shown = Strip.join([shown.crop(0, self.stem), mark, shown.crop(self.stem + 1)])
        return shown

    def _number_at(self, y: int) -> int:
        """Return the line in a row of the window."""
        top, sticky = self.scroll_offset.y, self.sticky
        return sticky.start + y if y < len(sticky) and top > sticky.start else top + y

    def _cell_at(self, x: int) -> int:
        """Return the cell in a column of the window."""
        return x if x < self.stem else x + self.scroll_offset.x

    def _under_sticky(self, number: int, start: int, width: int) -> Region:
        """Return the region that must be visible for some cells to be seen next to what does not scroll."""
        above = len(self.sticky) if number >= self.sticky.stop else 0
        before = min(self.stem, start)
        return Region(start - before, number - above, width + before, 1 + above)

    def _amid(self, number: int, region: Region) -> Region:
        """Return a region with lines around it, where a line far away is gone to."""
        top, height = self.scroll_offset.y, self.scrollable_content_region.height
        if top - 1 <= number <= top + height:
            return region
        around = max(0, height - region.height) // 2
        above = min(around, max(0, region.y))
        return Region(region.x, region.y - above, region.width, region.height + above + around)

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
        if role == "plain":
            return base
        if role != "dim":
            return base + self.get_component_rich_style(f"line--{role}", partial=True)
        known, style = self._dim
        if known != base:  # a rich style has no transparency, so that the muted colour is mixed here
            colour = self.background_colors[1] + self.get_component_styles("line--dim").color
            style = base + Style(color=colour.rich_color)
            self._dim = (base, style)
        return style

    def action_down(self, lines: int) -> None:
        """Move the cursor down some lines."""
        self.move_cursor(self.cursor + lines)

    def action_page(self, pages: float) -> None:
        """Move the cursor by pages."""
        self.move_cursor(self.cursor + int(pages * max(2, self.size.height - 1)))

    def action_first(self) -> None:
        """Move the cursor to the first line."""
        self.move_cursor(0)

    def action_last(self) -> None:
        """Move the cursor to the last line."""
        self.move_cursor(self.num_lines - 1)

    def on_mouse_scroll_right(self, event: events.MouseScrollRight) -> None:
        """Scroll sideways, which Textual does only where there is a bar for it."""
        event.stop()
        self.scroll_relative(x=SIDEWAYS, animate=False, force=True)

    def on_mouse_scroll_left(self, event: events.MouseScrollLeft) -> None:
        """Scroll sideways."""
        event.stop()
        self.scroll_relative(x=-SIDEWAYS, animate=False, force=True)

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where the mouse is."""
        offset = event.get_content_offset(self)
        if offset is not None:
            self.clicked(self._number_at(offset.y), self._cell_at(offset.x), event.chain)

    def clicked(self, number: int, _cell: int, _times: int) -> None:
        """Handle a click on a line."""
        if number < self.num_lines:
            self.move_cursor(number)


def width_of(lines: Lines) -> int:
    """Return the cells of the longest line, as far as known without making thousands of lines."""
    if isinstance(lines, LazyLines) and lines.width is not None:
        return lines.width
    return max((cell_width(line_text(line)) for line in lines[:SAMPLE]), default=0)
