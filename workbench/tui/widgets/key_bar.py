"""The most important keys; made once, where Textual's footer is rebuilt at every change of focus."""

from __future__ import annotations

from collections.abc import Iterable

from textual.binding import Binding
from textual.content import Content
from textual.widgets import Static

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
