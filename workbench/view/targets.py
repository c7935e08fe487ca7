"""What a piece of a panel refers to, so that a screen can select, link and follow it."""

from __future__ import annotations

from dataclasses import dataclass

from tracing.moment import Moment
from workbench.view.safe_text import safe_text


@dataclass(frozen=True, slots=True)
class NodeTarget:
    """A node of the tree."""

    node: int


@dataclass(frozen=True, slots=True)
class CellTarget:
    """A cell of the visibility grid: may `query` attend to `key`?"""

    query: int
    key: int


@dataclass(frozen=True, slots=True)
class PositionTarget:
    """A logical cache position."""

    position: int


@dataclass(frozen=True, slots=True)
class SlotTarget:
    """A physical slot of a paged cache."""

    slot: int


@dataclass(frozen=True, slots=True)
class FindingTarget:
    """A finding by its number in the run, from 0, and where it is."""

    moment: Moment
    number: int


@dataclass(frozen=True, slots=True)
class MomentTarget:
    """Another moment of the run."""

    moment: Moment


@dataclass(frozen=True, slots=True)
class SourceTarget:
    """A line of source code; the file as recorded."""

    file: str
    line: int


Target = NodeTarget | CellTarget | PositionTarget | SlotTarget | FindingTarget | MomentTarget | SourceTarget


def node_of(target: Target | None) -> int | None:
    """Return the node that a target selects in the other panels, None where it refers to no node."""
    if isinstance(target, NodeTarget):
        return target.node
    return target.query if isinstance(target, CellTarget) else None


def text_of(target: Target) -> str:
    """Return what is copied when the value under the cursor is."""
    match target:
        case NodeTarget(node):
            return f"node {node}"
        case CellTarget(query, key):
            return f"visible[{query}, {key}]"
        case PositionTarget(position):
            return f"position {position}"
        case SlotTarget(slot):
            return f"slot {slot}"
        case FindingTarget(moment) | MomentTarget(moment):
            return str(moment)
        case SourceTarget(file, line):
            return f"{safe_text(file)}:{line}"
