"""The keys of what has the focus, then those of the whole screen, and what the letters of the panel mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from workbench.tui.widgets.line_view import LineView
from workbench.view.lines import Line, Span, note
from workbench.view.panels import PANELS
from workbench.view.timeline import LEGEND

LEGENDS: Final = {"timeline": LEGEND, **{panel.name: panel.legend for panel in PANELS}}
"""Signs of what has the focus, by its name."""


class HelpScreen(ModalScreen[None]):
    """Shows keys until any of `escape ? q` is pressed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1", "dismiss", "Leave", id="help.leave")
    ]

    def __init__(self, title: str, own: Sequence[Binding], others: Sequence[Binding]) -> None:
        super().__init__()
        self._title, self._own, self._others = title, own, others

    def compose(self) -> ComposeResult:
        """Lay out the list."""
        yield LineView(self._lines(), title=f"keys: {self._title}", id="help")

    def _lines(self) -> list[Line]:
        lines = [_sign_line(sign, meaning) for sign, meaning in LEGENDS.get(self._title, ())]
        if lines:
            lines = [note("Signs", "title"), *lines, note("")]
        lines += [note(f"In {self._title}", "title"), *map(_key_line, self._own)]
        return [*lines, note(""), note("Everywhere", "title"), *map(_key_line, self._others)]


def shown_key(binding: Binding) -> str:
    """Return a binding's key as a person types it."""
    return binding.key_display or binding.key.replace(",", " ")


def _key_line(binding: Binding) -> Line:
    return (Span(f"  {shown_key(binding):<24}", "accent"), Span(binding.tooltip or binding.description))


def _sign_line(sign: str, meaning: str) -> Line:
    return (Span(f"  {sign:<24}", "accent"), Span(meaning))
