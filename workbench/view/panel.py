"""What every panel declares: its name, key and lines, and what leads to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tracing.finding import Finding
from workbench.view.lines import Line, Lines, note
from workbench.view.step import Side, StepView, ViewOptions
from workbench.view.targets import NodeTarget, Target


def always(_step: StepView) -> bool:
    """Say that every run has what a panel shows."""
    return True


def node_target(finding: Finding, _step: StepView) -> Target | None:
    """Return the node that a finding names, None where it names none."""
    return None if finding.moment.node is None else NodeTarget(finding.moment.node)


def missing_lines(side: Side, *names: str) -> list[Line]:
    """Return lines on the columns that a side does not have, or has from the reference."""
    absent = [name for name in names if side.get(name) is None]
    fed = [name for name in names if name in side.fed]
    lines = [note(side.why_not(*absent), "warn")] if absent else []
    if fed:
        lines.append(
            note(f"{side.label} has no {' and '.join(fed)} of its own; it was given the reference's")
        )
    return lines


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel; it is declared at the end of its own module and listed in `panels.py`.

    Attributes:
        name: What people and the palette call it.
        key: The key that opens it.
        purpose: One line for help.
        draw: Gives its lines.
        columns: Trace columns that it is about; a finding on one of them opens it.
        stage: Stage named in a moment that is copied from it, empty for none.
        stages: Stages whose moments open it.
        legend: Signs that it draws, with their meanings.
        point: Gives what a finding points to in it.
        short: Its name where there is little room, at most six letters; empty for the name itself.
        shown_for: Whether a step has what it shows; its tab stays away from runs that never have. Its key
            opens it all the same.
    """

    name: str
    key: str
    purpose: str
    draw: Callable[[StepView, ViewOptions], Lines]
    columns: frozenset[str] = frozenset()
    stage: str = ""
    stages: tuple[str, ...] = ()
    legend: tuple[tuple[str, str], ...] = ()
    point: Callable[[Finding, StepView], Target | None] = node_target
    short: str = ""
    shown_for: Callable[[StepView], bool] = always
