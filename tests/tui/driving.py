"""Drives the screen by its keys, without a terminal, and says what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual import events
from textual.keys import _character_to_key
from textual.pilot import Pilot

from tracing.moment import Moment
from workbench.tui.app import ViewApp
from workbench.tui.screens.run import RunScreen
from workbench.view.run_view import RunView

MAX_ROUNDS = 5000
CALM_ROUNDS = 3  # a message may pass from widget to screen to widget


@dataclass(frozen=True)
class Shown:
    """What was on the screen after the last key.

    Attributes:
        text: Every cell of the terminal, as lines.
        moment: The step.
        panel: The panel that had the attention.
        target: What its cursor was on.
        said: Messages that popped up.
        clipboard: What was copied.
        asked: What `ask` gave.
    """

    text: str
    moment: str
    panel: str
    target: Any
    said: str
    clipboard: str
    asked: Any


def look_at(app: ViewApp, ask: Callable[[RunScreen], Any]) -> Shown:
    """Return what is on the screen now."""
    screen = run_screen(app)
    slot = screen.active_slot
    return Shown(
        screen_text(app),
        str(screen.model.step.moment) if screen.model.step is not None else "",
        slot.panel,
        slot.target,
        "\n".join(note.message for note in app._notifications),
        app.clipboard,
        ask(screen),
    )


def play(
    view: RunView | Path,
    keys: Sequence[str] = (),
    *,
    size: tuple[int, int] = (80, 24),
    moment: str = "",
    follow: bool = False,
    between: Callable[[ViewApp], None] | None = None,
    ask: Callable[[RunScreen], Any] = lambda screen: None,
) -> Shown:
    """Press keys one by one, each after all before it has been drawn; `=text` types a text.

    Args:
        view: The run, or its folder.
        between: Called after the first drawing, before the first key.
        ask: Called on the screen at the end.
    """
    opened = RunView(view) if isinstance(view, Path) else view

    async def run() -> Shown:
        app = ViewApp(opened, Moment.parse(moment) if moment else None, follow=follow)
        async with app.run_test(size=size) as pilot:
            await settle(app, pilot)
            if between is not None:
                between(app)
                await settle(app, pilot)
            for key in keys:
                await press(app, pilot, key)
            return look_at(app, ask)

    return asyncio.run(run())


def play_each(
    folder: Path, cases: Sequence[Sequence[str]], ask: Callable[[RunScreen], Any] = lambda screen: None
) -> list[Shown]:
    """Play several cases, each on a fresh run screen of one application, which is slow to start."""

    async def run() -> list[Shown]:
        app = ViewApp(RunView(folder))
        shown = []
        async with app.run_test(size=(80, 24)) as pilot:
            for keys in cases:
                app.theme = "textual-dark"
                app.clear_notifications()
                await app.push_screen(RunScreen(RunView(folder)))
                await settle(app, pilot)
                for key in keys:
                    await press(app, pilot, key)
                shown.append(look_at(app, ask))
                while len(app.screen_stack) > 1:
                    app.pop_screen()
                await pilot.pause(0)
        return shown

    return asyncio.run(run())


async def press(app: ViewApp, pilot: Pilot[None], key: str) -> None:
    """Press one key, or type `=text`, without the waiting for a calm processor that `Pilot.press` does."""
    for each in key[1:] if key[0] == "=" else [key]:
        name = _character_to_key(each) if len(each) == 1 else each
        app.post_message(events.Key(name, each if len(each) == 1 else None))
    await settle(app, pilot)


async def settle(app: ViewApp, pilot: Pilot[None]) -> None:
    """Wait until nothing is being read and every message, and what followed from it, has been handled."""
    calm = 0
    for _ in range(MAX_ROUNDS):
        await pilot.pause(0)
        await pilot._wait_for_screen()
        screen = run_screen(app)
        calm = (
            calm + 1 if not hasattr(screen, "drawing") or (screen.is_mounted and screen.drawing.idle) else 0
        )
        if calm >= CALM_ROUNDS:
            return
        if not calm:
            await asyncio.sleep(0.001)
    raise AssertionError("the screen never came to rest")


def run_screen(app: ViewApp) -> RunScreen:
    """Return the run screen, whatever stands before it."""
    found = [screen for screen in app.screen_stack if isinstance(screen, RunScreen)]
    return found[-1] if found else app.screen


def screen_text(app: ViewApp) -> str:
    """Return what a person would see."""
    return "\n".join(strip.text.rstrip() for strip in app.screen._compositor.render_strips())
