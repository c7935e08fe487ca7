"""Where the user has been: back and forward, like a browser."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from workbench.view.targets import Target

MAX_LOCATIONS: Final = 500


@dataclass(frozen=True, slots=True)
class Location:
    """A row that the user was at, the panel that had the attention, and what was selected in it.

    Attributes:
        moment: Its step as text, empty where it was not read yet.
    """

    row: int
    panel: str = ""
    target: Target | None = None
    moment: str = ""


@dataclass(slots=True)
class History:
    """Places in the order in which they were left."""

    behind: list[Location] = field(default_factory=list)
    ahead: list[Location] = field(default_factory=list)

    def leave(self, place: Location) -> None:
        """Remember a place before going elsewhere."""
        if not self.behind or self.behind[-1] != place:
            self.behind.append(place)
        del self.behind[:-MAX_LOCATIONS]
        self.ahead.clear()

    def back(self, here: Location) -> Location | None:
        """Return the place before this one, None at the beginning."""
        if not self.behind:
            return None
        self.ahead.append(here)
        return self.behind.pop()

    def forward(self, here: Location) -> Location | None:
        """Return the place that was gone back from, None at the end."""
        if not self.ahead:
            return None
        self.behind.append(here)
        return self.ahead.pop()

    def places(self) -> list[Location]:
        """Return where the user has been, the latest first, each place once."""
        return list(dict.fromkeys(reversed([*self.behind, *reversed(self.ahead)])))
