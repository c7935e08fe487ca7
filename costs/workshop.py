"""Where costs are measured: a temporary folder, and the long traces that several of them share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final

NUM_NODES: Final = 60
"""Nodes of a step where nothing else is said: the default tree of `specwb diff`."""


class Workshop:
    """A temporary folder, gone at the end; a context manager.

    Attributes:
        folder: For what one run measures; the long traces lie beside it.
        say: Called with what is being done, for a progress line.
    """

    def __init__(self, say: Callable[[str], None] = lambda _: None) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="specwb-costs-"))
        self.folder = self._root / "run"
        self.say = say
        self._made: dict[str, Path] = {}

    def begin_run(self) -> None:
        """Have an empty folder again; long traces stay."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()

    def once(self, name: str, make: Callable[[Path], object]) -> Path:
        """Return a path of this name, made at the first request."""
        if name not in self._made:
            path = self._root / name
            make(path)
            self._made[name] = path
        return self._made[name]

    def long_run(
        self,
        num_steps: int,
        *,
        num_nodes: int = NUM_NODES,
        last_token: int | None = None,
        for_screen: bool = False,
        digests: bool = True,
    ) -> Path:
        """Return a run of so many legal steps; see `write_long_run`."""
        options: dict[str, Any] = {
            "num_nodes": num_nodes,
            "last_token": last_token,
            "for_screen": for_screen,
            "digests": digests,
        }

        def make(path: Path) -> None:
            from costs.long_run import write_long_run

            self.say(f"writing a run of {num_steps} steps of {num_nodes} nodes")
            write_long_run(path, num_steps, **options)

        return self.once(f"run-{num_steps}-{'-'.join(map(str, options.values()))}", make)

    def __enter__(self) -> Workshop:
        self.begin_run()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._root, ignore_errors=True)
