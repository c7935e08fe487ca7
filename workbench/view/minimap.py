"""A grid in small: four cells of it in one character, so that sixty nodes are seen at once."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from workbench.view.grid import CORRECTLY_VISIBLE, DIFFERENT, GLYPHS, LEAKED, MISSING, Codes, GridPanel
from workbench.view.lines import Line, Role, Span
from workbench.view.targets import CellTarget, NodeTarget

QUADRANTS: Final = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"
"""By bits: upper left 1, upper right 2, lower left 4, lower right 8."""
MAX_SIDE: Final = 60
"""Cells of the grid that are seen one by one; of a larger grid several share a quarter of a character."""
_ROLE_OF_WRONG: Final[dict[int, Role]] = {DIFFERENT: "warn"}


def minimap_lines(panel: GridPanel) -> list[Line]:
    """Draw a grid in small: quarters where a query sees a key, a letter where a cell is wrong."""
    codes = panel.codes
    each = max(1, math.ceil(len(codes) / MAX_SIDE))
    step = 2 * each
    scale = "" if each == 1 else f", {each} by {each} cells a quarter"
    lines: list[Line] = [(Span(f"  the whole grid in small{scale}", "dim"),)]
    for top in range(0, len(codes), step):
        spans: list[Span] = [Span(f"{top:>6} ", "dim", NodeTarget(top))]
        for left in range(0, len(codes), step):
            block = codes[top : top + step, left : left + step]
            spans.append(_wrong(block, top, left) or Span(QUADRANTS[_bits(block, each)]))
        lines.append(tuple(spans))
    return lines


def _bits(block: Codes, each: int) -> int:
    """Return which quarters of a block hold a cell that is visible."""
    seen = (block == CORRECTLY_VISIBLE) | (block >= LEAKED) & (block != MISSING)
    parts = (seen[:each, :each], seen[:each, each:], seen[each:, :each], seen[each:, each:])
    return sum(1 << place for place, part in enumerate(parts) if part.any())


def _wrong(block: Codes, top: int, left: int) -> Span | None:
    """Return the letter of the first wrong cell of a block, None where all are right."""
    rows, columns = np.nonzero(block >= LEAKED)
    if not len(rows):
        return None
    code = int(block[rows[0], columns[0]])
    where = CellTarget(top + int(rows[0]), left + int(columns[0]))
    return Span(GLYPHS[code], _ROLE_OF_WRONG.get(code, "bad"), where)
