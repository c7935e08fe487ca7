"""How far back the drafter looks: distances to the most attended key, in buckets, by head and by depth.

Each row of buckets is a picture of its own: its largest share is drawn at full height (or length), and the
end of the row says how much that is. A share of nothing is a dot.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workbench.view.chart import bar, beside, block, percent, shade, widest
from workbench.view.distance_table import DASH, Counts, DistanceTable, bucket_labels
from workbench.view.lines import Line, Lines, Role, Span, note, wrapped
from workbench.view.panel import Panel
from workbench.view.step import Side, StepView, ViewOptions

LABEL: Final = 9
SHORT_LABEL: Final = 4
SCALE: Final = 9
"""Cells of the end of a row that says how much its largest share is."""
MIN_CELL, ROOMY_CELL, MAX_CELL = 4, 5, 15
"""Cells of a bucket: at the least, with room for long labels, at the most."""
WITH_LENGTH: Final = 9
"""Cells of a bucket from which on its share is a length; below it is a height."""
HEAT_CELL: Final = 5
HALF: Final = 0.5


def distance_lines(step: StepView, options: ViewOptions) -> Lines:
    """Draw the buckets of the step, one picture where both sides have the same."""
    tables = [_table_of(side, step) for side in step.sides]
    first = tables[0]
    if len(tables) == 2 and first is not None and tables[1] is not None:
        if np.array_equal(first.counts, tables[1].counts) and first.outside == tables[1].outside:
            both = f"{step.sides[0].label} and {step.sides[1].label} alike"
            return [*_side_lines(step.left, first, f"{both}, step {step.moment}", options.width)]
        half = (options.width - 3) // 2
        if half >= widest(table_lines(first, "", ROOMY_CELL * len(first.edges) + LABEL + SCALE)):
            left, right = (
                _side_or_reason(step, side, table, half)
                for side, table in zip(step.sides, tables, strict=True)
            )
            return beside(left, right)
    lines: list[Line] = []
    for side, table in zip(step.sides, tables, strict=True):
        lines += [note("")] if lines else []
        lines += _side_or_reason(step, side, table, options.width)
    return lines


def _table_of(side: Side, step: StepView) -> DistanceTable | None:
    """Return the counted distances of a side, None where it has none."""
    offsets = side.grid("draft_top1_offsets")
    if offsets is None:
        return None
    table = DistanceTable(step.edges)
    table.add(offsets, side.get("depths"))
    return table


def _side_or_reason(step: StepView, side: Side, table: DistanceTable | None, width: int) -> list[Line]:
    if table is None:
        return [note(side.why_not("draft_top1_offsets"), "warn")]
    return _side_lines(side, table, f"{side.label}, step {step.moment}", width)


def _side_lines(side: Side, table: DistanceTable, title: str, width: int) -> list[Line]:
    return [*table_lines(table, title, width), *_unexpanded(side, width)]


def _unexpanded(side: Side, width: int) -> list[Line]:
    """Say which nodes were never expanded, so that no row counts them."""
    offsets = side.grid("draft_top1_offsets")
    if offsets is None:
        return []
    hidden: NDArray[np.bool_] = np.asarray(np.ma.getmaskarray(offsets).all(axis=1))
    nodes = [node for node in np.flatnonzero(hidden).tolist() if node not in side.pads]
    if not nodes:
        return []
    num_valid = len(hidden) - len(side.pads)
    depths = Counter(side.at("depths", node) for node in nodes)
    where = ", ".join(
        f"{count} of depth {depth}" for depth, count in sorted(depths.items(), key=str) if depth is not None
    )
    text = f"never expanded, and counted in no row: {len(nodes)} of {num_valid} nodes"
    return [note(each) for each in textwrap.wrap(f"{text} ({where})" if where else text, width)]


def table_lines(table: DistanceTable, title: str, width: int) -> list[Line]:
    """Draw one table: the share of the far bucket, a row per head and per depth, and heads by depths."""
    far = table.far_share
    if far is None:
        return [(Span(title, "title"), Span("  no node was expanded", "dim"))]
    labels = bucket_labels(table.edges)
    role: Role = "warn" if far >= HALF else "accent"
    share, counted = Span(f"{labels[-1]} {far:.1%}", role), f"  of {table.total} distances, "
    head: list[Line] = [(share, Span(counted + title, "title"))]
    if widest(head) > width:
        head = [(share, Span(counted, "title")), note(f"  {title}", "title")]
    rows, heat = _rows(table, labels, width), _heat(table, labels[-1], width)
    fits = heat and widest(rows) + 3 + widest(heat) <= width
    lines = [*head, *(beside(rows, heat) if fits else [*rows, note(""), *heat] if heat else rows)]
    if table.outside:
        lines.append(
            note(f"  {table.outside} distances are below {table.edges[0]}: a key after its query", "bad")
        )
    return lines


def _rows(table: DistanceTable, labels: Sequence[str], width: int) -> list[Line]:
    """Draw a row of buckets for all, for each head and for each depth, as wide as there is room."""
    short = width < LABEL + SCALE + ROOMY_CELL * len(labels)
    stem = SHORT_LABEL if short else LABEL
    cell = min(MAX_CELL, max(MIN_CELL, (width - stem - (0 if short else SCALE)) // len(labels)))
    names = ("h", "d") if short else ("head ", "depth ")
    last = cell + int(cell == MIN_CELL and stem + cell * len(labels) < width)
    lines = _labels(labels, stem, cell, last, short=short)
    rows = [("all", table.by_head.sum(axis=0))]
    rows += [(f"{names[0]}{head}", row) for head, row in enumerate(table.by_head) if row.any()]
    rows += [(f"{names[1]}{depth}", row) for depth, row in enumerate(table.by_depth) if row.any()]
    return [*lines, *(_row(label.ljust(stem), row, cell, last, short=short) for label, row in rows)]


def _labels(labels: Sequence[str], stem: int, cell: int, last: int, *, short: bool) -> list[Line]:
    """Return the head of the rows; labels that are too long for one line take two."""
    scale = "" if short else "  full is"
    if max(len(label) for label in labels) < cell:
        return [note(" " * stem + "".join(label.rjust(cell) for label in labels) + scale)]
    parts = [label.partition(DASH) for label in labels]
    upper = "".join(low.rjust(cell) for low, _, _ in parts[:-1]) + parts[-1][0].rjust(last)
    lower = "".join(f"{dash}{high}".rjust(cell) for _, dash, high in parts)
    return [note(" " * stem + upper), note("%".ljust(stem) + lower + scale)]


def _row(label: str, counts: Counts, cell: int, last: int, *, short: bool) -> Line:
    shares = (counts / counts.sum()).tolist()
    full = max(shares)
    spans = [Span(label)]
    for place, share in enumerate(shares, 1):
        drawn, number = _cell(share, full, last if place == len(shares) else cell)
        spans += [Span(drawn, "accent"), Span(number, "plain" if share else "dim")]
    return (*spans, Span("" if short else f"  █ {full:4.0%}", "dim"))


def _cell(share: float, full: float, cell: int) -> tuple[str, str]:
    """Return the picture of a share, scaled to the largest of its row, and its number."""
    if not share:
        return "", "·".rjust(cell)
    if cell >= WITH_LENGTH:
        return f" {bar(share / full, cell - 5)}", f"{percent(share):>3}%"
    return block(share / full).rjust(cell - 3), f"{percent(share):>3}"


def _heat(table: DistanceTable, name: str, width: int) -> list[Line]:
    """Draw the share of the far bucket by head and depth: the darker the more, with its number."""
    shares = table.far_by_head_and_depth
    heads = [head for head in range(len(shares)) if not np.isnan(shares[head]).all()]
    if not heads:
        return []
    depths = range(shares.shape[1])
    lines: list[Line] = [
        *wrapped(note(f"{name} by head and depth, %: ░ to 25 ▒ 50 ▓ 75 █ 100"), width, 2),
        note("depth".ljust(LABEL) + "".join(str(depth).rjust(HEAT_CELL) for depth in depths)),
    ]
    for head in heads:
        spans = [Span(f"head {head}".ljust(LABEL))]
        for share in shares[head].tolist():
            known = not np.isnan(share)
            spans.append(Span(f" {shade(share)}" if known else "", "accent"))
            spans.append(Span(f"{percent(share):>3}" if known else "·".rjust(HEAT_CELL)))
        lines.append(tuple(spans))
    return lines


PANEL: Final = Panel(
    "distance",
    "b",
    "how far back the drafter looks, in buckets by head and depth",
    distance_lines,
    columns=frozenset({"draft_top1_offsets"}),
    stage="draft",
    legend=(
        ("▃ 38", "38 %, as high as it is beside the largest share of its row"),
        ("█  62%", "at the end of a row: a bar of full height is 62 %"),
        ("·", "none"),
    ),
    short="dist",
)
