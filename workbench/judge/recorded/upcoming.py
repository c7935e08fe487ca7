"""Recorded steps before they are judged, for a judge that prepares several at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from workbench.judge.evidence import StepEvidence
from workbench.judge.turn_state import TurnState

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Upcoming:
    """A step of a path.

    Attributes:
        row: The step.
        state: Of its turn before it.
        other: The other path's step, or None.
        evidence: Of the step; None where it is not to be judged.
    """

    row: Row
    state: TurnState
    other: Row | None = None
    evidence: StepEvidence | None = None


@runtime_checkable
class Foresighted(Protocol):
    """A judge that is told of steps before it judges them."""

    @property
    def nodes_ahead(self) -> int:
        """Nodes of which it wants to be told at a time."""
        ...

    def expect(self, steps: Sequence[Upcoming]) -> None:
        """Take note of the steps that come next, in their order."""
        ...


def told_ahead(steps: Iterable[Upcoming], judge: Foresighted) -> Iterator[Upcoming]:
    """Yield the same steps; a judge is told of so many before the first of them.

    Args:
        steps: In order; their states change after each.
        judge: What is told.
    """
    waiting: list[Upcoming] = []
    num_nodes = 0
    for step in steps:
        waiting.append(replace(step, state=step.state.copied()))
        nodes = step.row.get("token_ids") if step.evidence is not None else None
        num_nodes += 1 if nodes is None else len(nodes)
        if num_nodes >= judge.nodes_ahead:
            judge.expect(waiting)
            yield from waiting
            waiting, num_nodes = [], 0
    judge.expect(waiting)
    yield from waiting
