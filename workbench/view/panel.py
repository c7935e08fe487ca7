"""What every panel has in common: a name, a key, and lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from workbench.view.lines import Lines
from workbench.view.step import StepView, ViewOptions


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        name: What people and the palette call it.
        key: The key that opens it.
        purpose: One line for help.
        draw: Gives its lines.
        columns: Trace columns that it is about; a finding on one of them opens it.
    """

    name: str
    key: str
    purpose: str
    draw: Callable[[StepView, ViewOptions], Lines]
    columns: frozenset[str] = frozenset()
