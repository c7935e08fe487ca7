"""The table of costs as one page of pictures: each cost beside its goal, with quartiles; no script in it."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from html import escape
from itertools import groupby
from typing import Final

from costs.row import Row
from costs.table import number

WIDTH: Final = 860
LINE: Final = 24
NAME: Final = 340
DECADES: Final = 1.0
"""Powers of ten that the axis spans on each side of the goal; what lies beyond is drawn at the border."""
STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
       color: #1d2329; background: #fff }
svg { width: 100%; height: auto; font-size: 13px } td, th { text-align: left; padding: .15rem .7rem .15rem 0;
       vertical-align: top } table { font-size: 14px } .held { fill: #2b7a4b } .missed { fill: #b3372f }
.free { fill: #64707c } .axis { stroke: #9aa4ae } .spread { stroke: #1d2329; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) { body { color: #dde3e8; background: #14181c } text { fill: #dde3e8 }
  .held { fill: #58b57f } .missed { fill: #e2695f } .free { fill: #93a0ac } .spread { stroke: #dde3e8 } }
"""


def as_page(rows: Sequence[Row]) -> str:
    """Return a page: a picture a group of costs, each bar from its goal to its value, and the table below."""
    groups = [(name, list(group)) for name, group in groupby(rows, lambda row: row.name.partition(".")[0])]
    machine = f"{platform.machine()}, Python {platform.python_version()}, {platform.system()}"
    pictures = "\n".join(f"<h2>{escape(name)}</h2>\n{_picture(group)}" for name, group in groups)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>What the workbench costs</title><style>{STYLE}</style></head><body>\n"
        f"<h1>What the workbench costs</h1>\n<p>Measured on {escape(machine)}. "
        "The line in the middle is the goal, "
        "the axis spans a factor of ten to either side, better is to the left; whiskers are quartiles. "
        f"A cost without a goal has no bar.</p>\n{pictures}\n{_table(rows)}\n</body></html>\n"
    )


def _picture(rows: Sequence[Row]) -> str:
    height = LINE * len(rows) + 6
    lines = "\n".join(_bar(row, LINE * place + 4) for place, row in enumerate(rows))
    middle = _place(0.0)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="costs beside their goals">\n'
        f'<line class="axis" x1="{middle}" x2="{middle}" y1="0" y2="{height}"/>\n{lines}\n</svg>'
    )


def _bar(row: Row, top: int) -> str:
    """Draw one cost: its name, its value, and how far it is on which side of its goal."""
    text = f'<text x="0" y="{top + 14}">{escape(row.name)}  {escape(shown(row))}</text>'
    worse = _worse(row, row.value)
    if worse is None:
        return text
    left, right = sorted((_place(worse), _place(0.0)))
    kind = "held" if row.held else "missed"
    bar = f'<rect class="{kind}" x="{left}" y="{top + 3}" width="{max(right - left, 2):.1f}" height="12"/>'
    ends = [_worse(row, value) for value in row.spread or ()]
    low, high = (
        sorted(_place(end) for end in ends if end is not None) if None not in ends and ends else (0, 0)
    )
    whisker = f'<line class="spread" x1="{low}" x2="{high}" y1="{top + 9}" y2="{top + 9}"/>' if high else ""
    return f"{text}{bar}{whisker}"


def _worse(row: Row, value: float | None) -> float | None:
    """Return by how many powers of ten a value is worse than its goal, or None; below 0 it is better."""
    if row.goal is None or value is None or value <= 0 or row.goal.limit <= 0:
        return None
    distance = math.log10(value / row.goal.limit)
    return -distance if row.goal.at_least else distance


def _place(worse: float) -> float:
    """Return the x of a distance from the goal."""
    half = (WIDTH - NAME) / 2
    return round(NAME + half + max(-1.0, min(1.0, worse / DECADES)) * half, 1)


def shown(row: Row) -> str:
    """Return a value with its unit, or that it was not measured."""
    return "not measured" if row.value is None else f"{number(row.value)} {row.unit}".strip()


def _table(rows: Sequence[Row]) -> str:
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in (*_cells(row), row.how)) + "</tr>"
        for row in rows
    )
    heads = "".join(f"<th>{head}</th>" for head in ("cost", "value", "quartiles", "goal", "how"))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _cells(row: Row) -> tuple[str, str, str, str]:
    spread = "" if row.spread is None else " to ".join(map(number, row.spread))
    goal = (
        ""
        if row.goal is None
        else f"{'at least' if row.goal.at_least else 'at most'} {number(row.goal.limit)}"
    )
    return row.name, shown(row), spread, goal
