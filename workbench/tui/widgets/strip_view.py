"""The strip over the whole run as a widget: the shown step is marked, a click goes to a step."""

from __future__ import annotations

from typing import Final

from textual import events
from textual.content import Content
from textual.widgets import Static

from workbench.tui.messages import ModelCall
from workbench.tui.styles import styled, write
from workbench.view.run_strip import LABEL, Strip, strip_lines

TALL: Final = 30
"""Lines of the screen from which on the strip takes three of them."""


class StripView(Static):
    """Shows accepted lengths, verdicts and times of all steps."""

    def __init__(self) -> None:
        super().__init__(id="strip", markup=False)
        self._strip = Strip()

    def show(self, strip: Strip, row: int, most_accepted: int, screen_lines: int) -> None:
        """Show the strip of a run with a mark at a row."""
        height = 3 if screen_lines >= TALL else 1
        if self.styles.height is None or self.styles.height.value != height:
            self.styles.height = height
        self._strip = strip
        lines = [styled(line) for line in strip_lines(strip, most_accepted, self.size.width, height)]
        here = [number for number, (start, stop) in enumerate(self._cells()) if start <= row < stop]
        if here:
            first, last = LABEL + here[0], LABEL + here[-1] + 1
            lines = [line.stylize("reverse", first, last) for line in lines]
        text = Content("\n").join(lines)
        write(self, text)

    def on_click(self, event: events.Click) -> None:
        """Go to the step under the mouse."""
        cells, number = self._cells(), event.x - LABEL
        if 0 <= number < len(cells):
            row = cells[number][0]
            self.post_message(ModelCall(lambda model: model.go_to_row(row)))

    def _cells(self) -> list[tuple[int, int]]:
        return self._strip.cells(max(1, self.size.width - LABEL))
