"""What the user looks at, and how."""

from __future__ import annotations

from dataclasses import dataclass, field

from workbench.view.step import StepView, ViewOptions


@dataclass(frozen=True, slots=True)
class Look:
    """How the user looks at a step: the second side first, the first side alone, options of the panels."""

    swapped: bool = False
    one_side: bool = False
    options: ViewOptions = field(default_factory=ViewOptions)

    def applied(self, step: StepView) -> StepView:
        """Return the step as it is looked at."""
        step = step.swapped() if self.swapped else step
        return step.only_left() if self.one_side else step


@dataclass(frozen=True, slots=True)
class Sight:
    """Everything that the lines of a panel depend on: equal sights give equal lines.

    Attributes:
        version: Counts what else was read of the run: more rows, findings, distances.
    """

    row: int
    look: Look
    version: int
