"""One line of the table of costs, and a provider of such lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from costs.workshop import Workshop


@dataclass(frozen=True, slots=True)
class Goal:
    """A limit on a value.

    Attributes:
        limit: In the row's unit.
        at_least: True where more is better.
    """

    limit: float
    at_least: bool = False

    def holds(self, value: float) -> bool:
        """Tell whether a value is within the limit, the limit included."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured cost.

    Attributes:
        name: What was measured, e.g. `recording.basic`; the part before the dot is its provider's name.
        value: The median, or None where it was not measured.
        unit: Of value, spread and goal; empty for a plain ratio.
        how: How it was measured, or why it was not, in one line.
        goal: What it should be, or None where it is only reported.
        spread: Lower and upper quartile over the repetitions, or None for a single measurement.
    """

    name: str
    value: float | None
    unit: str
    how: str
    goal: Goal | None = None
    spread: tuple[float, float] | None = None

    @property
    def held(self) -> bool | None:
        """Whether the goal is held; None without a goal or a value."""
        return None if self.goal is None or self.value is None else self.goal.holds(self.value)

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "spread": self.spread,
            "goal": None if self.goal is None else self.goal.limit,
            "goal_is": None if self.goal is None else ("at least" if self.goal.at_least else "at most"),
            "held": self.held,
            "how": self.how,
        }


@dataclass(frozen=True, slots=True)
class Cost:
    """A provider of rows.

    Attributes:
        name: First part of the names of its rows.
        rows: Name of each row to its goal, None without one; the keys are all that `measure` yields.
        measure: `(workshop)`; yields its rows as they are measured.
    """

    name: str
    rows: dict[str, Goal | None]
    measure: Callable[[Workshop], Iterable[Row]]
