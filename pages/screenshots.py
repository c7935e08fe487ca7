"""Pictures of every panel for the README, taken of the runs in `traces/`.

`python -m pages.screenshots traces docs/screens` takes them again; `batch=RUN` and `experts=RUN`
after that take those two of other runs: one of an engine with its launches, one of a teacher with experts.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from workbench.tui.app import ViewApp
from workbench.tui.export import without_fonts
from workbench.tui.picture import at_rest
from workbench.view.panels import PANEL_BY_NAME
from workbench.view.run_view import RunView

SMALL, LARGE = (100, 26), (170, 44)
RUNS: Final = {
    "findings": "sibling-leak",
    "tree": "wrong-parent",
    "visible": "sibling-leak",
    "cache": "stale-row",
    "chain": "stale-row",
    "rules": "position-off-by-one",
    "distance": "long",
}
"""Panel -> run that it is shown of, at the run's first divergence; `clean` for the others."""
NOT_OF_TRACES: Final = frozenset({"batch", "experts"})
"""Panels of which no run in `traces/` has anything to show."""


async def take(run: Path, panel: str, file: Path) -> None:
    """Save a picture of one panel, or of the whole screen where `panel` is empty."""
    app = ViewApp(RunView(run))
    async with app.run_test(size=SMALL if panel else LARGE) as pilot:
        screen = await at_rest(app)
        if screen is not None:
            screen.read_on()
            await at_rest(app)
            if screen.model.view.findings:
                screen.action_do("first_finding")
            await at_rest(app)
            if panel and screen.active_slot.panel != panel:
                screen.action_do("panel", (panel,))
        await at_rest(app)
        await pilot.pause()
        picture = app.export_screenshot(title=f"specwb view {run.name}")
    file.write_text(without_fonts(picture), encoding="utf-8")


async def take_all(traces: Path, folder: Path, others: Mapping[str, Path]) -> None:
    """Save a picture of every panel that a run is there for, and one of the whole screen."""
    folder.mkdir(parents=True, exist_ok=True)
    await take(traces / "sibling-leak", "", folder / "whole.svg")
    for panel in PANEL_BY_NAME:
        if panel in others or panel not in NOT_OF_TRACES:
            run = others.get(panel, traces / RUNS.get(panel, "clean"))
            await take(run, panel, folder / f"{panel}.svg")


if __name__ == "__main__":
    given = {panel: Path(run) for panel, _, run in (word.partition("=") for word in sys.argv[3:])}
    asyncio.run(take_all(Path(sys.argv[1]), Path(sys.argv[2]), given))
