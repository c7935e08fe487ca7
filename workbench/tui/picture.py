"""One screen as a picture, taken without a terminal: what `specwb view` shows, for an issue or a README."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Final

from rich.console import Console

from tracing.moment import Moment
from workbench.tui.app import ViewApp
from workbench.tui.export import save_console_html, save_console_svg
from workbench.tui.screens.run import RunScreen
from workbench.view.run_view import RunView

SIZE: Final = (170, 44)
"""Columns and lines: room for four panels."""
CALM_ROUNDS: Final = 4
ROUND_SECONDS: Final = 0.01
MAX_ROUNDS: Final = 3000


def save_screen(
    view: RunView,
    moment: Moment | None,
    *,
    svg: Path | None = None,
    html: Path | None = None,
    differences: bool = False,
    columns: int | None = None,
) -> None:
    """Write the screen of a moment; without a moment, of the first finding or the first step.

    Args:
        view: The run.
        moment: Which moment of it.
        svg: Picture to write, None for none.
        html: Page to write, None for none.
        differences: Leave out what is as it should be.
        columns: Width of the screen, None for the usual one.

    Raises:
        EnvironmentProblemError: A file cannot be written.
    """
    size = (columns or SIZE[0], SIZE[1])
    console = asyncio.run(_take(view, moment, size, differences))
    name = f"specwb view {view.folder.resolve().name}"
    if svg is not None:
        save_console_svg(console, svg, f"{name} {moment}" if moment is not None else name)
    if html is not None:
        save_console_html(console, html)


async def at_rest(app: ViewApp) -> RunScreen | None:
    """Wait until nothing is being read or drawn; return the screen of the run."""
    calm = 0
    for _ in range(MAX_ROUNDS):
        screen = app.screen
        resting = isinstance(screen, RunScreen) and screen.is_mounted and screen.drawing.idle
        calm = calm + 1 if resting else 0
        if calm >= CALM_ROUNDS:
            break
        await asyncio.sleep(ROUND_SECONDS)
    return app.screen if isinstance(app.screen, RunScreen) else None


async def _take(view: RunView, moment: Moment | None, size: tuple[int, int], differences: bool) -> Console:
    app = ViewApp(view, moment)
    async with app.run_test(size=size) as pilot:
        screen = await at_rest(app)
        if screen is not None:
            screen.read_on()
            await at_rest(app)
            if moment is None and view.findings:
                screen.action_do("first_finding")
            if differences:
                screen.action_do("differences")
            await at_rest(app)
        await pilot.pause()
        return _recorded(app)


def _recorded(app: ViewApp) -> Console:
    """Return what is on the screen, recorded."""
    width, height = app.size
    console = Console(
        width=width,
        height=height,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        record=True,
        legacy_windows=False,
        safe_box=False,
    )
    shown = app.screen._compositor  # noqa: SLF001  Textual itself exports SVG alone, and from here too
    console.print(shown.render_update(full=True))
    return console
