"""A run in a worker thread, with the screen on it in the main one: `specwb diff --tui`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")


def watched(run: Callable[[], Result], folder: Path) -> Result:
    """Run `run` while the screen follows what it writes into `folder`.

    Leaving the screen does not end the run: its result, or what it raised, comes when it is done.
    """
    from workbench.tui.app import follow

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="specwb-run") as pool:
        future = pool.submit(run)
        follow(folder, alive=lambda: not future.done())
        return future.result()
