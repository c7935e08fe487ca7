"""One line of input at the bottom of the screen, as vim and less have it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Input, Label


class PromptScreen(ModalScreen[str | None]):
    """Asks for one line; None when the user leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "Leave", id="prompt.leave")]

    def __init__(self, sign: str, hint: str, value: str = "") -> None:
        super().__init__()
        self._sign, self._hint, self._value = sign, hint, value

    def compose(self) -> ComposeResult:
        """Lay out sign and input."""
        yield Label(self._sign, id="sign", markup=False)
        yield Input(self._value, placeholder=self._hint, id="line", compact=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Hand the line back."""
        self.dismiss(event.value)
