"""The index watch of a path: which index values each place of its code used in a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from workbench.npu.call_watch import Watch


class IndexProbe:
    """Watches the stages of one path and keeps the sites of the step in progress.

    It records; what an index means is judged by the rules over the recorded row. Operators of the device are
    judged by their contracts, so the watch's own findings are not used here.
    """

    def __init__(self, *, on: bool) -> None:
        """Watch when `on`, else do nothing."""
        self._watch = Watch(self) if on else None
        self._sites: dict[tuple[str, int], dict[str, Any]] = {}
        self._paused = False
        self._stage = ""

    def around(self, stage: str) -> AbstractContextManager[Any]:
        """Return what a stage of the path runs in; its sites are named after it."""
        self._stage = stage
        return self._watch or nullcontext()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the workbench's own work while a stage of the path is running."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    def index_site(self, site: str, minimum: int, maximum: int, bound: int) -> None:
        """Take one use of an index tensor; uses at one place under one bound become one entry.

        A larger index under a larger bound is no fault, so uses with different bounds stay apart.
        """
        if self._paused:
            return
        site = f"{site} in {self._stage}" if self._stage else site
        entry = {"site": site, "min": minimum, "max": maximum, "bound": bound}
        known = self._sites.setdefault((site, bound), entry)
        known["min"] = min(known["min"], minimum)
        known["max"] = max(known["max"], maximum)

    def kernel(self, text: str) -> None:
        """Do nothing: the path reports its attention calls itself."""

    def take(self) -> Mapping[str, Any]:
        """Return the step's columns and begin the next step; nothing when there is no watch."""
        if self._watch is None:
            return {}
        sites, self._sites = [self._sites[key] for key in sorted(self._sites)], {}
        return {"index_sites": sites}

    def not_inspected(self) -> Mapping[str, str]:
        """Return the operators that could not be inspected, each with the reason."""
        return dict(self._watch.seen.not_inspected) if self._watch else {}
