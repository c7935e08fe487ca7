"""What widgets and the reading thread tell the screen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from textual.message import Message

from workbench.tui.look import Sight
from workbench.view.lines import Lines
from workbench.view.search import Hit
from workbench.view.step import StepView
from workbench.view.targets import Target
from workbench.view.timeline import TimelineRow


@dataclass
class StepDrawn(Message):
    """A step was read and its panels drawn.

    Attributes:
        sight: What was asked for.
        step: The step; None where it cannot be read.
        lines: Lines by panel name.
    """

    sight: Sight
    step: StepView | None
    lines: Mapping[str, Lines]


@dataclass
class TimelineRead(Message):
    """Rows of the time line were read.

    Attributes:
        start: Number of the first.
        rows: The rows.
    """

    start: int
    rows: list[TimelineRow]


@dataclass
class RunGrew(Message):
    """Another process has written more."""


@dataclass
class ProofWent(Message):
    """More of the run's files is proven to be what was written."""


@dataclass
class RowFound(Message):
    """A row that was asked for by its moment, or by a move.

    Attributes:
        row: Where.
        panel: Panel to open, empty to leave as it is.
        target: What to select there.
    """

    row: int
    panel: str = ""
    target: Target | None = None


@dataclass
class SearchEnded(Message):
    """A search came to an end.

    Attributes:
        text: What was looked for.
        hit: Where it is, None where nowhere.
    """

    text: str
    hit: Hit | None


@dataclass
class DistancesCounted(Message):
    """More of the run's distances were counted."""


@dataclass
class ReadFailed(Message):
    """Something could not be read.

    Attributes:
        sentence: Why, for a person.
    """

    sentence: str


@dataclass
class RowChosen(Message):
    """The cursor of the time line moved.

    Attributes:
        row: Where to.
    """

    row: int


@dataclass
class TargetSelected(Message):
    """The cursor of a panel moved to something.

    Attributes:
        panel: Which panel.
        target: What it stands for.
    """

    panel: str
    target: Target | None


@dataclass
class TargetFollowed(Message):
    """The user wants to go where something leads.

    Attributes:
        panel: In which panel.
        target: What.
    """

    panel: str
    target: Target
