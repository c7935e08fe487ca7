"""Rows at the edge of the screen: tabs, the strip over the whole run, the most important keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from textual import events
from textual.binding import Binding
from textual.content import Content
from textual.widgets import Static

from workbench.tui.messages import ModelCall
from workbench.tui.styles import styled, write
from workbench.view.run_strip import LABEL, Strip, strip_lines
from workbench.view.tabs import Tab


class TabBar(Static):
    """Shows the panels with their keys."""

    def __init__(self) -> None:
        super().__init__(id="tabs", markup=False)

    def show(self, tabs: Sequence[Tab], active: str, seen: frozenset[str]) -> None:
        """Show tabs.

        Args:
            tabs: Of the panels there are.
            active: The panel that has the attention.
            seen: Panels that are on the screen.
        """
        text = Content(" ") + Content(" ").join(_tab(each, active, seen) for each in tabs)
        write(self, text)


def _tab(tab: Tab, active: str, seen: frozenset[str]) -> Content:
    """Return one tab: the active one reversed, those on the screen bold, the others muted."""
    name = tab.name.removesuffix("!")
    style = "reverse" if tab.panel == active else "" if tab.panel in seen else "$text-muted"
    parts = [Content.styled(tab.key, "$accent b"), Content.styled(f" {name}" if name else "", style)]
    if name != tab.name:
        parts.append(Content.styled("!", "$text-error b"))
    return Content("").join(parts).stylize(f"@click=screen.do('panel', ('{tab.panel}',))")


PALETTE = ("^p", "palette", "app.command_palette")


class KeyBar(Static):
    """Shows the bindings that have a short name; a click does what the key does."""

    def __init__(self, bindings: Iterable[Binding]) -> None:
        shown = [
            (each.key_display or each.key, each.description, f"screen.{each.action}")
            for each in bindings
            if each.show
        ]
        super().__init__(Content(" ").join(_key(*each) for each in [*shown, PALETTE]), id="keys")


def _key(key: str, name: str, action: str) -> Content:
    return Content.from_markup(f"[@click={action}][$accent b]$key[/] $name[/]", key=key, name=name)


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
