"""Lines in the theme's colours."""

from __future__ import annotations

from typing import Final

from textual.content import Content
from textual.widgets import Static

from workbench.view.lines import Line, Role

STYLES: Final[dict[Role, str]] = {
    "plain": "",
    "title": "bold",
    "dim": "$text-muted",
    "good": "$text-success",
    "bad": "bold $text-error",
    "warn": "$text-warning",
    "accent": "$text-accent",
}
"""Roles in the theme's colours."""


def styled(line: Line) -> Content:
    """Return a line as content; markup in it stays text."""
    return Content.assemble(*((span.text, STYLES[span.role]) for span in line))


def write(widget: Static, text: Content) -> None:
    """Write text into a widget of fixed size, if it is not there already in the same colours."""
    before = widget.content
    if not (isinstance(before, Content) and text.is_same(before)):
        widget.update(text, layout=False)
