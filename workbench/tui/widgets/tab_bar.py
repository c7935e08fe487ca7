"""The row of tabs as a widget: a click opens a panel, as its key does."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from workbench.tui.styles import write
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
