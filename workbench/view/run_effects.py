"""What the model of the run screen asks for: reading away from the screen, and effects on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from tracing.moment import Moment
from workbench.view.step import Sight
from workbench.view.targets import SourceTarget, Target

Severity = Literal["information", "warning", "error"]


class RunJobs(Protocol):
    """Reading that may take time; the answers come back to the model's methods."""

    def step(self, sight: Sight, panels: Iterable[str]) -> None:
        """Read a step and draw some panels of it; `step_drawn` takes it."""

    def move(self, row: int, unit: str, direction: int) -> None:
        """Find the row where a move leads; `row_found` takes it."""

    def locate(self, moment: Moment, panel: str = "", target: Target | None = None) -> None:
        """Find the row of a moment; `row_found` takes it."""

    def find(self, text: str, row: int, node: int | None, direction: int) -> None:
        """Search; `search_ended` takes the outcome."""

    def check(self, row: int) -> None:
        """Find the next step that breaks a rule; `row_found` or `search_ended` takes the outcome."""

    def list_findings(self) -> None:
        """Find the rows of all findings; `findings_listed` takes them."""

    def count_distances(self) -> None:
        """Count the run's distances; `distances_counted` is called as the count grows."""


@dataclass(frozen=True, slots=True)
class Notification:
    """A message that pops up; `seconds` is None for the usual time."""

    text: str
    severity: Severity = "information"
    seconds: float | None = None


@dataclass(slots=True)
class Effects:
    """What the screen has to do, apart from drawing lines.

    Attributes:
        focus: Give the active panel the focus.
        scroll: Put the time line's cursor on the model's row.
        rows: Read the rows of the time line again.
        status: Write the status line again.
        clipboard: Text to copy, empty for none.
        edit: Place in source code to open in the user's editor, None for none.
        notifications: Messages to pop up.
    """

    focus: bool = False
    scroll: bool = False
    rows: bool = False
    status: bool = False
    clipboard: str = ""
    edit: SourceTarget | None = None
    notifications: list[Notification] = field(default_factory=list)
