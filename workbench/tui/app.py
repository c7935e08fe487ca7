"""The terminal UI as three functions: pick a run, look at a run, follow a run that is being written."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final

from textual.app import App, SystemCommand
from textual.binding import Binding
from textual.screen import Screen

from tracing.manifest import MANIFEST_NAME
from tracing.moment import Moment
from workbench.tui.screens.help import shown_key
from workbench.tui.screens.picker import PickerScreen
from workbench.tui.screens.run import RunScreen
from workbench.view.run_list import list_runs
from workbench.view.run_view import RunView

WAIT_SECONDS: Final = 0.05
COLLECT_AFTER: Final = 1.0
"""Seconds after which the first step is on the screen."""

THRESHOLDS: Final = (10_000, 20, 50)
"""Of the collector's generations: a full collection comes after some million objects, not once a second."""


class ViewApp(App[None]):
    """Shows a run, or lets the user choose one.

    Args:
        view: The run; None for the picker.
        moment: Where to begin.
        follow: Follow a run that is being written.
        first: A screen to begin with in place of the run's or the picker.
    """

    CSS_PATH = "styles.tcss"
    TITLE = "specwb view"
    ENABLE_COMMAND_PALETTE = True

    def __init__(
        self,
        view: RunView | None = None,
        moment: Moment | None = None,
        *,
        follow: bool = False,
        first: Screen[None] | None = None,
    ) -> None:
        super().__init__()
        self._view, self._moment, self._follow, self._first = view, moment, follow, first
        self.animation_level = "none"

    def on_mount(self) -> None:
        """Open the first screen, the run or the picker."""
        if self._first is not None:
            self.push_screen(self._first, self._leave)
        elif self._view is None:
            self.push_screen(PickerScreen(list_runs()), self._open)
        else:
            self.push_screen(RunScreen(self._view, self._moment, follow=self._follow), self._leave)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Yield every key of the screen as a command of the palette, then Textual's own."""
        for binding in type(screen).BINDINGS:
            if isinstance(binding, Binding):
                run = partial(self.run_action, binding.action, default_namespace=screen)
                yield SystemCommand(binding.tooltip or binding.description, f"key {shown_key(binding)}", run)
        yield from super().get_system_commands(screen)

    def _open(self, folder: Path | None) -> None:
        if folder is None:
            self.exit()
        else:
            self.push_screen(RunScreen(RunView(folder, lazily=True)), self._leave)

    def _leave(self, _result: None) -> None:
        self.exit()


class OwnProcess(ViewApp):
    """The screen in its own process, where it may configure garbage collection.

    A full collection walks everything that startup made, libraries included, and stops the screen for a tenth
    of a second every few moves; here it is held off until the first step is drawn, and then skips all that.
    """

    def on_mount(self) -> None:
        """Collect garbage from a second later on; Textual calls the base class's `on_mount` too."""
        gc.disable()
        self.set_timer(COLLECT_AFTER, self._collect)

    def _collect(self) -> None:
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)
        gc.enable()


def pick_and_view() -> None:
    """Let the user choose a run and look at it."""
    OwnProcess().run()


def view_run(view: RunView, moment: Moment | None = None, *, follow: bool = False) -> None:
    """Show a run until the user leaves; the process must do nothing else."""
    OwnProcess(view, moment, follow=follow).run()


def follow(
    run_folder: str | Path, *, patience: float = 60.0, alive: Callable[[], bool] = lambda: True
) -> None:
    """Follow a run that another process or thread is writing; returns when the user leaves.

    Args:
        run_folder: The run's folder; it need not be there yet.
        patience: Seconds to wait for it.
        alive: Returns whether the writer is still alive; waiting ends when it is not.

    Raises:
        TraceError: The folder did not become a run in time.
    """
    folder, deadline = Path(run_folder), time.monotonic() + patience
    while not (folder / MANIFEST_NAME).exists() and alive() and time.monotonic() < deadline:
        time.sleep(WAIT_SECONDS)
    ViewApp(RunView(folder), follow=True).run()
