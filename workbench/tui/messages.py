"""Messages of widgets and reading threads to the screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from textual.message import Message

from workbench.view.lines import Lines
from workbench.view.look import Sight
from workbench.view.run_model import RunModel
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
class ModelCall(Message):
    """Something for the model: what was read for it, or what the user does in a widget.

    Attributes:
        call: Calls the model.
    """

    call: Callable[[RunModel], object]


@dataclass
class RunGrew(Message):
    """Another process has written more."""


@dataclass
class TargetSelected(Message):
    """The cursor of a panel moved to something.

    Attributes:
        panel: Which panel.
        target: What it refers to.
    """

    panel: str
    target: Target | None
