"""Lines to read and scroll."""

from __future__ import annotations

from typing import Any

from workbench.tui.widgets.line_view import LineView
from workbench.view.lines import Line, Lines, line_text
from workbench.view.width import cell_width


class TextView(LineView):
    """Shows lines that do not change.

    Args:
        lines: The lines.
        title: Title of the border.
    """

    def __init__(self, lines: Lines, title: str, **options: Any) -> None:
        super().__init__(**options)
        self._lines = lines
        self.border_title = title
        self.resize_content(max((cell_width(line_text(line)) for line in lines), default=0))

    @property
    def num_lines(self) -> int:
        """How many lines there are."""
        return len(self._lines)

    def content_line(self, number: int) -> Line:
        """Return one line."""
        return self._lines[number]
