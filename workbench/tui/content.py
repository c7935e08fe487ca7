"""Lines as Textual's content, for widgets that are one line; roles take the theme's colours."""

from __future__ import annotations

from typing import Final

from textual.content import Content

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


def styled_text(line: Line) -> Content:
    """Return a line as content; markup in it stays text."""
    return Content.assemble(*((span.text, STYLES[span.role]) for span in line))
