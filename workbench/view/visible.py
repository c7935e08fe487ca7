"""Draws the visibility grid: queries down, keys across, the prefix summarised, wrong cells as letters."""

from __future__ import annotations

from typing import Final

import numpy as np

from tracing.finding import Finding
from workbench.view.grid import (
    CORRECTLY_VISIBLE,
    DIFFERENT,
    GLYPHS,
    LEAKED,
    MEANINGS,
    MISSING,
    TRANSPOSED,
    GridPanel,
    grid_panel,
)
from workbench.view.lines import LazyLines, Line, Lines, Role, Span, line_text, note
from workbench.view.minimap import minimap_lines
from workbench.view.panel import Panel, missing_lines, node_target
from workbench.view.step import StepView, ViewOptions
from workbench.view.targets import CellTarget, NodeTarget, Target, node_of
from workbench.view.width import cell_width

MAX_NAMED: Final = 6
STEM: Final = 7
"""Cells before the grid: mark, number of the query, a space."""

BAR: Final = 4
"""Cells of the bar of how much of the prefix a query sees."""
TAIL: Final = 2 + BAR + 4
"""Cells after the grid that are always there."""

_ROLES: dict[int, Role] = {
    0: "dim",
    CORRECTLY_VISIBLE: "plain",
    LEAKED: "bad",
    MISSING: "bad",
    TRANSPOSED: "bad",
    DIFFERENT: "warn",
}


def visible_lines(step: StepView, options: ViewOptions) -> Lines:
    """Draw the grid of the left side."""
    panel = grid_panel(step)
    if panel is None:
        return [*missing_lines(step.left, "visible"), *_shape_note(step)]
    head = [*_summary(panel, step), *_wrong_cells(panel)]
    small = len(head) + 1  # the first line of the grid in small, where there is one
    if STEM + len(panel.codes) + TAIL > options.width and not options.differences_only:
        head += minimap_lines(panel)
    queries = list(range(len(panel.codes)))
    if options.differences_only:
        queries = [
            each for each in queries if (panel.codes[each] >= LEAKED).any() or panel.prefix_is_wrong(each)
        ]
    before = len(head)
    head.extend(_key_numbers(panel) if queries else [])
    found = step.finding_nodes()
    start = len(head)
    tails = max((cell_width(line_text(_tail(panel, query))) for query in queries), default=0)
    width = max([STEM + len(panel.codes) + tails, *(cell_width(line_text(each)) for each in head)])

    def make(number: int) -> Line:
        if number < start:
            return head[number]
        return _row(panel, queries[number - start], found)

    def find(target: Target) -> int | None:
        query = node_of(target)
        if target == NodeTarget(0) and before > small:
            return small  # who opens the panel, and means nothing in it, sees the whole first
        return start + queries.index(query) if query in queries else None

    return LazyLines(start + len(queries), make, find, width=width, sticky=range(before, start), stem=STEM)


def _shape_note(step: StepView) -> list[Line]:
    grid = step.left.grid("visible")
    return [] if grid is None else [note(f"visible has shape {list(grid.shape)}, not square", "bad")]


def _summary(panel: GridPanel, step: StepView) -> list[Line]:
    wrong = panel.wrong_cells()
    against = f"against {panel.expected_from}" if panel.expected_from else "nothing to hold it against"
    text = "all cells as they should be; " if panel.expected_from else ""
    if wrong:
        text = f"{len(wrong)} wrong cell{'s' * (len(wrong) > 1)}{_pattern(panel)}; "
    lines: list[Line] = [(Span(text, "bad" if wrong else "good"), Span(against, "dim"))]
    if panel.broken:
        lines.append(
            note(f"nodes {list(panel.broken[:MAX_NAMED])} do not lead to the root by their parents", "bad")
        )
    if step.right is not None and step.right.grid("visible") is None:
        lines.append(note(step.right.why_not("visible")))
    return lines


def _pattern(panel: GridPanel) -> str:
    """Name the whole-grid mistakes that a person should not have to read off single cells."""
    codes = panel.codes
    off_diagonal = ~np.eye(len(codes), dtype=np.bool_)
    wrong = codes >= LEAKED
    if wrong.any() and bool((codes[wrong] == TRANSPOSED).all()) and int(wrong.sum()) > 2:
        return ", all mirrored: transposed"
    if wrong[off_diagonal].size and bool(wrong.all()):
        return ": polarity inverted"
    return ""


def _wrong_cells(panel: GridPanel) -> list[Line]:
    cells = panel.wrong_cells()
    named = cells[: MAX_NAMED if not _pattern(panel) else 2]
    lines: list[Line] = [
        (
            Span(f"  {GLYPHS[panel.codes[query, key]]} ", "bad"),
            Span(_sentence(panel, query, key), "bad", CellTarget(query, key)),
        )
        for query, key in named
    ]
    if len(cells) > len(named):
        lines.append(note(f"  and {len(cells) - len(named)} more"))
    return lines


def _sentence(panel: GridPanel, query: int, key: int) -> str:
    """Say what is wrong with one cell."""
    code = int(panel.codes[query, key])
    if code == LEAKED:
        return f"node {query} sees node {key}, {'a pad' if key in panel.pads else 'no ancestor of it'}"
    if code == MISSING:
        return (
            f"node {query} does not see its ancestor {key}"
            if query != key
            else f"node {query} does not see itself"
        )
    if code == TRANSPOSED:
        return f"nodes {query} and {key}: visible the wrong way round"
    return f"query {query}, key {key}: {MEANINGS[code]}"


def _key_numbers(panel: GridPanel) -> list[Line]:
    """Return the numbers of the keys, one digit per line, so that a column is one cell wide."""
    keys = [str(key) for key in range(len(panel.codes))]
    height = max(len(key) for key in keys)
    lines: list[Line] = []
    for digit in range(height):
        text = "".join(key.rjust(height)[digit] for key in keys)
        lead = " query" if digit == height - 1 else "      "
        lines.append(note(f"{lead} {text}"))
    lines[-1] += (Span("  prefix", "dim"),)
    return lines


def _row(panel: GridPanel, query: int, found: frozenset[int]) -> Line:
    wrong = bool((panel.codes[query] >= LEAKED).any()) or panel.prefix_is_wrong(query)
    mark = "!" if wrong or query in found else " "
    is_pad = query in panel.pads
    spans = [Span(mark, "bad"), Span(f"{query:>5} ", "dim" if is_pad else "plain", NodeTarget(query))]
    spans.extend(
        Span(
            GLYPHS[code],
            "dim" if is_pad and code <= CORRECTLY_VISIBLE else _ROLES[code],
            CellTarget(query, key),
        )
        for key, code in enumerate(panel.codes[query].tolist())
    )
    return (*spans, *_tail(panel, query))


def _tail(panel: GridPanel, query: int) -> Line:
    """Return the end of a query's line: how much of the prefix it sees, and other columns."""
    return (*_prefix(panel, query), *((Span("  pad", "dim"),) if query in panel.pads else ()))


def _thin_bar(share: float) -> str:
    halves = max(round(2 * BAR * share), int(share > 0))
    return ("━" * (halves // 2) + "╸" * (halves % 2)).ljust(BAR)


def _prefix(panel: GridPanel, query: int) -> list[Span]:
    prefix, other = (panel.side.at(name, query) for name in ("prefix_visible", "other_visible"))
    whole = panel.side.committed_len
    if prefix is None:
        return [Span("  not recorded", "dim")]
    drawn = Span(f"  {_thin_bar(min(1.0, prefix / whole))}" if whole else "", "dim")
    spans = [
        drawn,
        Span(
            " all" if prefix == whole else f" {prefix} of {whole if whole is not None else '?'}",
            "dim" if query in panel.pads or not panel.prefix_is_off(query) else "bad",
        ),
    ]
    if other:
        spans.append(Span(f"  + {other} outside", "bad"))
    return spans


def _cell_of(finding: Finding, step: StepView) -> Target | None:
    """Return the first wrong cell of the finding's row, or of the grid where it names no row."""
    panel = grid_panel(step)
    if panel is not None:
        for query, key in panel.wrong_cells():
            if finding.moment.node in {None, query}:
                return CellTarget(query, key)
    return node_target(finding, step)


PANEL: Final = Panel(
    "visible",
    "m",
    "who attends to whom, wrong cells as letters",
    visible_lines,
    columns=frozenset({"visible", "prefix_visible", "other_visible"}),
    stage="verify",
    stages=("verify",),
    legend=tuple(zip(GLYPHS, MEANINGS, strict=True)),
    point=_cell_of,
)
