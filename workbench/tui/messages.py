"""Messages of widgets and reading threads to the screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from textual.message import Message

from workbench.view.lines import Lines
from workbench.view.run_model import RunModel
from workbench.view.step import Sight, StepView
from workbench.view.targets import Target
from workbench.view.timeline import TimelineRow


@dataclass
class StepDrawn(Message):
    """A step was read and its panels drawn; `step` is None where it cannot be read."""

    sight: Sight
    step: StepView | None
    lines: Mapping[str, Lines]


@dataclass
class TimelineRead(Message):
    """Rows of the time line were read, from row `start` on."""

    start: int
    rows: list[TimelineRow]


@dataclass
class ModelCall(Message):
    """Something for the model: what was read for it, or what the user does in a widget."""

    call: Callable[[RunModel], object]


@dataclass
class RunGrew(Message):
    """Another process has written more."""


@dataclass
class TargetSelected(Message):
    """The cursor of a panel moved to something, or to nothing."""

    panel: str
    target: Target | None
