"""The few cells around a finding, as a linter shows the source line: what stands there on both sides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from tracing.columns import COLUMN_BY_NAME
from tracing.errors import SpecwbError
from tracing.finding import Finding
from workbench.view.safe_text import safe_text
from workbench.view.step import Side, StepView

AROUND: Final = 2
"""Nodes on each side of the one that a finding names."""
USUAL: Final = ("token_ids", "parents")
"""What says which node it is."""
MAX_COLUMNS: Final = 4
MAX_KEYS: Final = 64
CELL: Final = 14
"""Characters of a value that are shown."""


def context_of(folder: Path, finding: Finding) -> list[str]:
    """Return the cells around a finding of a recorded run; none where its step cannot be read."""
    from workbench.view.run_view import RunView

    try:
        view = RunView(folder, lazily=True)
        if finding.path in view.labels:
            view.show_path(finding.path)
        return context_lines(view.step(view.row_of(finding.moment)), finding)
    except SpecwbError:
        return []


def context_lines(step: StepView, finding: Finding) -> list[str]:
    """Return the cells that a finding is about, with their neighbours; none where it names no node.

    Returns:
        Lines of plain text, safe for a terminal: a row of node numbers, a row for each column and side.
    """
    node = finding.moment.node
    rows = [] if node is None else list(_rows(step, finding, node))
    if not rows:
        return []
    nodes = _nodes(step, node or 0)
    table = [("node", [f">{each}" if each == node else str(each) for each in nodes]), *rows]
    widths = [max(len(cells[place]) for _, cells in table) for place in range(len(nodes))]
    stem = max(len(label) for label, _ in table)
    lines = [
        f"{label:<{stem}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        for label, cells in table
    ]
    return [safe_text(line.rstrip()) for line in (*lines, *_keys(step, finding, node or 0))]


def _nodes(step: StepView, node: int) -> range:
    count = max(side.num_nodes for side in step.sides)
    return range(max(0, node - AROUND), min(count, node + AROUND + 1))


def _rows(step: StepView, finding: Finding, node: int) -> Iterator[tuple[str, list[str]]]:
    """Yield label and cells of each column that has a value for each node."""
    nodes = _nodes(step, node)
    wanted = [name for name in dict.fromkeys((*USUAL, finding.column)) if _is_per_node(name)]
    for name in wanted[:MAX_COLUMNS] if node in nodes else ():
        both = [(side, [_cell(side.at(name, each)) for each in nodes]) for side in step.sides]
        known = [(side, cells) for side, cells in both if any(cells)]
        if len(known) == 2 and known[0][1] == known[1][1]:
            yield name, known[0][1]
        else:
            yield from ((f"{name} ({side.label})", cells) for side, cells in known)


def _is_per_node(name: str) -> bool:
    column = COLUMN_BY_NAME.get(name)
    return column is not None and column.axes == ("N",)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= CELL else f"{text[: CELL - 1]}…"


def _keys(step: StepView, finding: Finding, node: int) -> Iterator[str]:
    """Yield the row of a grid that a finding is about: # where the node attends."""
    if finding.column != "visible":
        return
    for side in step.sides:
        row = _row(side, node)
        if row is not None:
            shown = "".join("#" if sees else "." for sees in row[:MAX_KEYS])
            yield f"visible[{node}] ({side.label})  {shown}{'…' if len(row) > MAX_KEYS else ''}"


def _row(side: Side, node: int) -> Sequence[bool] | None:
    grid = side.grid("visible")
    if grid is None or node >= len(grid):
        return None
    row: list[bool] = np.ma.filled(grid[node], False).astype(bool).tolist()
    return row
