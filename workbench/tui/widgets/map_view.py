"""A map of two axes: a cursor that goes along both."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from workbench.tui.widgets.line_view import LineView
from workbench.view.lines import Line
from workbench.view.width import cell_width


class MapView(LineView):
    """Lines of a label and cells, below a line of headings; one cell is under the cursor.

    Attributes:
        column: Number of the cell under the cursor in its line.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h,left", "along(-1)", "Left", show=False, id="map.left"),
        Binding("l,right", "along(1)", "Right", show=False, id="map.right"),
    ]
    column: int = 0

    @property
    def row(self) -> int:
        """Number of the line under the cursor, headings left out; -1 on them."""
        return self.cursor - 1

    def cursor_cells(self, line: Line) -> tuple[int, int]:
        """Return the cells of a line that the cursor covers."""
        widths = [cell_width(span.text) for span in line]
        start = sum(widths[: self.column + 1])
        return start, start + widths[min(self.column + 1, len(widths) - 1)]

    def action_along(self, cells: int) -> None:
        """Move the cursor along the line."""
        most = max(0, len(self.content_line(self.cursor)) - 2) if self.num_lines else 0
        self.column = min(max(0, self.column + cells), most)
        start, stop = self.cursor_cells(self.content_line(self.cursor)) if self.num_lines else (0, 1)
        self.show_cells(self.cursor, start, stop - start)
        self.refresh_line(self.cursor)
