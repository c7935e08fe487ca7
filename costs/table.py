"""The table of costs as text and as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costs.row import Row

HEAD = ("cost", "value", "quartiles", "goal", "held", "how")


def as_text(rows: Sequence[Row]) -> str:
    """Return the table, columns lined up; the last column is free."""
    cells = [HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEAD) - 1)]
    lines = []
    for line in cells:
        padded = [text.ljust(width) for text, width in zip(line, widths, strict=False)]
        lines.append("  ".join([*padded, line[-1]]).rstrip())
    return "\n".join(lines)


def as_json(rows: Sequence[Row]) -> dict[str, Any]:
    """Return all rows as plain data, with the exit code they amount to."""
    return {"exit_code": exit_code(rows), "costs": [row.as_json() for row in rows]}


def exit_code(rows: Sequence[Row]) -> int:
    """Return 1 where a goal is missed, 4 where one could not be measured, else 0."""
    if any(row.held is False for row in rows):
        return 1
    return 4 if not rows or any(row.goal is not None and row.value is None for row in rows) else 0


def _cells(row: Row) -> tuple[str, ...]:
    unit = f" {row.unit}" if row.unit else ""
    value = "-" if row.value is None else f"{number(row.value)}{unit}"
    spread = "" if row.spread is None else f"{number(row.spread[0])} .. {number(row.spread[1])}"
    goal = ""
    if row.goal is not None:
        goal = f"{'>=' if row.goal.at_least else '<='} {number(row.goal.limit)}{unit}"
    held = {True: "yes", False: "NO", None: ""}[row.held]
    return row.name, value, spread, goal, held, row.how


def number(value: float) -> str:
    """Return four significant digits, thousands apart, never an exponent."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4f}"[: 6 if abs(value) < 100 else 5].rstrip(".")
