"""The sides that a run view shows, and which path of a run comes first."""

from __future__ import annotations

from collections.abc import Sequence

from tracing.errors import UsageError
from tracing.reader import Run
from workbench.view.sources import Source, find_sources


class Sides:
    """One or more recorded paths, the first of which has the time line.

    Args:
        runs: The run, and the one that it is compared with, if any.

    Attributes:
        shown: The paths, the first one first.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = tuple(runs)
        self._known: list[Source] = []
        self._preferred = ""
        self.shown: list[Source] = []
        self.refresh()

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the sides."""
        return tuple(source.label for source in self.shown)

    @property
    def path_names(self) -> tuple[str, ...]:
        """Names of the recorded paths, of both runs where there are two."""
        return tuple(dict.fromkeys(name for run in self._runs for name in run.path_names))

    @property
    def next_path(self) -> str:
        """Name of the path after the one that is shown first; empty where there is none."""
        names = self.path_names
        if not self.shown or len(names) < 2:
            return ""
        return names[(names.index(self.shown[0].path.name) + 1) % len(names)]

    def put_first(self, name: str) -> None:
        """Show a path first, of both runs where there are two.

        Raises:
            UsageError: No such path is recorded.
        """
        if name not in self.path_names:
            where, known = self._runs[0].folder.name, ", ".join(self.path_names)
            raise UsageError(f"no path {name!r} in {where}; it has {known}")
        self._preferred = name
        self.refresh()

    def refresh(self) -> None:
        """Take over the paths that there are now; what was read of them is kept."""
        run, other = [*self._runs, None][:2]
        assert run is not None  # there is one at least
        self.shown = find_sources(run, other, self._known, self._preferred)
        self._known = list({id(each): each for each in (*self._known, *self.shown)}.values())
