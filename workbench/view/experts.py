"""Experts of a step: how many rows each got, by layer and group, and which worked on each node."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tracing.expert_columns import Ids, ids_by_layer, loads_by_layer
from tracing.imbalance import imbalance
from workbench.view.chart import block
from workbench.view.counted import counted
from workbench.view.lines import Line, Lines, Span, note, wrapped
from workbench.view.panel import Panel, missing_lines
from workbench.view.step import Side, StepView, ViewOptions
from workbench.view.targets import NodeTarget

CELL: Final = 8
"""Cells of an expert and its load."""
STEM: Final = 6
MAX_INDENT: Final = 8


@dataclass(frozen=True, slots=True)
class SideExperts:
    """What a side recorded of experts.

    Attributes:
        ids: Experts of each layer and node, -1 where null, `[M, N, E]`; None where not known.
        loads: Rows that each expert got, `[M, X]`; None where not known.
        num_groups: Of which a row gets one expert each; 1 for none.
    """

    ids: Ids | None
    loads: Ids | None
    num_groups: int

    @classmethod
    def of(cls, side: Side, step: StepView) -> SideExperts:
        """Read a side's columns in the axes that the manifest tells."""
        facts = step.manifest.get("model_facts")
        known = facts if isinstance(facts, Mapping) else {}
        num_experts, num_groups = (_count(known, name) for name in ("num_experts", "expert_groups"))
        loads = loads_by_layer(side.get("expert_loads"), num_experts)
        flat, nodes = side.get("expert_ids"), side.num_nodes
        per_node = num_groups
        if not per_node and loads is not None and flat is not None and nodes:
            per_node = flat.size // (len(loads) * nodes)
        ids = ids_by_layer(flat, nodes, per_node)
        return cls(ids, loads, num_groups if num_groups and num_experts % num_groups == 0 else 1)


def _count(facts: Mapping[str, Any], name: str) -> int:
    value = facts.get(name, 0)
    return value if isinstance(value, int) and value > 0 else 0


def experts_lines(step: StepView, options: ViewOptions) -> Lines:
    """Draw loads of the left side, and the experts of each node on both."""
    lines = [*missing_lines(step.left, "expert_ids", "expert_loads")]
    own = SideExperts.of(step.left, step)
    if own.ids is None and own.loads is None and not lines:
        lines.append(note("the manifest does not say how many experts there are (model_facts)", "warn"))
    if own.loads is not None:
        lines += _loads(own, step.left.label, options.width)
    if own.ids is not None:
        other = None if step.right is None else SideExperts.of(step.right, step).ids
        lines += _nodes(step, own, other, options)
    return lines


def _loads(own: SideExperts, label: str, width: int) -> Iterator[Line]:
    assert own.loads is not None
    num_experts, per_row = own.loads.shape[1], 1 if own.ids is None else own.ids.shape[2]
    size = num_experts // own.num_groups
    what = (
        f"{num_experts} experts in {own.num_groups} groups"
        if own.num_groups > 1
        else f"{num_experts} experts"
    )
    yield note(f"{label}: rows of the launch that each expert got; {what}", "title")
    for layer, loads in enumerate(own.loads):
        rows = int(loads.sum()) // per_row
        score = imbalance(loads, own.num_groups, rows) if own.num_groups > 1 else None
        busiest = int(loads.argmax())
        parts = [] if score is None else [f"imbalance {score:.2f}"]
        parts.append(f"busiest {busiest}: {int(loads[busiest])} of {rows} rows")
        role: Any = "warn" if score else "plain"
        yield from wrapped((Span(f"layer {layer}  "), Span(", ".join(parts), role)), width, STEM)
        for group in range(own.num_groups):
            yield from _group(group, loads[group * size : (group + 1) * size], group * size, width)


def _group(group: int, loads: Ids, first: int, width: int) -> Iterator[Line]:
    """Draw the experts of a group, as high as they are beside its busiest."""
    most = max(int(loads.max()), 1)
    per_line = max((width - STEM) // CELL, 1)
    for start in range(0, len(loads), per_line):
        spans = [Span(f"  g{group}".ljust(STEM) if start == 0 else " " * STEM)]
        for expert, load in enumerate(loads[start : start + per_line].tolist(), first + start):
            spans.append(Span(f"{expert:>3} ", "dim"))
            spans.append(
                Span(f"{block(load / most)}{load:<3}" if load else "·   ", "accent" if load else "dim")
            )
        yield tuple(spans)


def _nodes(step: StepView, own: SideExperts, other: Ids | None, options: ViewOptions) -> Iterator[Line]:
    ids = own.ids
    assert ids is not None
    side, digits = step.left, len(str(max(int(ids.max(initial=0)), 0)))
    layer_width = max(ids.shape[2] * (digits + 1), len("layer 10")) + 2
    room = max(min(len(ids), (options.width - 2 * MAX_INDENT) // layer_width), 1)
    compared = other is not None and other.shape == ids.shape
    shown = _layers_shown(ids, other if compared else None, side.pads, room)
    note_on = f"; ! where {step.right.label} has others" if compared and step.right is not None else ""
    yield note("")
    yield from wrapped(note(f"experts of each node, by layer{note_on}", "title"), options.width, 2)
    yield note("node".ljust(2 * MAX_INDENT) + "".join(f"layer {at}".ljust(layer_width) for at in shown))
    for node in range(ids.shape[1]):
        if node in side.pads:
            continue
        differs = compared and not np.array_equal(np.sort(ids[:, node]), np.sort(other[:, node]))  # type: ignore[index]  # given where compared
        if options.differences_only and not differs:
            continue
        indent = min(int(side.at("depths", node) or 0), MAX_INDENT)
        stem = f"{'!' if differs else ' '}{' ' * indent}{node}".ljust(2 * MAX_INDENT)
        spans = [Span(stem, "bad" if differs else "plain", NodeTarget(node))]
        for layer in shown:
            text = " ".join(str(each).rjust(digits) for each in ids[layer, node].tolist())
            wrong = differs and not np.array_equal(np.sort(ids[layer, node]), np.sort(other[layer, node]))  # type: ignore[index]  # given where compared
            spans.append(Span(text.ljust(layer_width), "bad" if wrong else "plain"))
        yield tuple(spans)
    if len(shown) < len(ids):
        yield note(f"and {counted(len(ids) - len(shown), 'more layer')}; a wider terminal shows more")


def _layers_shown(ids: Ids, other: Ids | None, pads: Container[int], room: int) -> list[int]:
    """Return the layers that there is room for: those where the other side has others come first."""
    differing: list[int] = []
    if other is not None:
        nodes = [node for node in range(ids.shape[1]) if node not in pads]
        unequal = np.sort(ids[:, nodes], axis=2) != np.sort(other[:, nodes], axis=2)
        differing = np.flatnonzero(unequal.any(axis=(1, 2))).tolist()
    alike = [layer for layer in range(len(ids)) if layer not in differing]
    return sorted([*differing, *alike][:room])


def _shown_for(step: StepView) -> bool:
    return any(side.get(name) is not None for side in step.sides for name in ("expert_ids", "expert_loads"))


PANEL: Final = Panel(
    "experts",
    "E",
    "which experts worked: loads by layer and group, and the experts of each node",
    experts_lines,
    columns=frozenset({"expert_ids", "expert_loads"}),
    legend=(
        ("▃4", "4 rows, as high as it is beside the busiest expert of its group"),
        ("·", "none"),
        ("!", "the other side has other experts"),
    ),
    short="expert",
    shown_for=_shown_for,
)
