"""Small pictures made of characters: bars, blocks, shades, and a line over many values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from workbench.view.lines import Line, Span, line_text
from workbench.view.width import cell_width

Values = NDArray[np.float64]

BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_SHADES: Final = " ░▒▓█"
_BRAILLE: Final = 0x2800
_DOTS: Final = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))
"""Bits of a braille cell: of its left and its right half, from the lowest dot up."""
_DOT_ROWS: Final = 4


def bar(share: float, width: int) -> str:
    """Return a bar from the left, `width` cells for a share of 1; a share above 0 is always to be seen."""
    eighths = min(8 * width, max(round(8 * width * share), int(share > 0)))
    full, part = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[part] if part else "")).ljust(width)


def block(share: float) -> str:
    """Return one cell whose height is the share; a share above 0 is always to be seen."""
    return BLOCKS[min(len(BLOCKS) - 1, max(round(share * (len(BLOCKS) - 1)), int(share > 0)))]


def shade(share: float) -> str:
    """Return one cell that is the darker the larger the share; a share above 0 is always to be seen."""
    return _SHADES[min(len(_SHADES) - 1, math.ceil(share * (len(_SHADES) - 1)))]


def percent(share: float) -> str:
    """Return a share in whole percent without its sign, at most three characters."""
    return "<1" if 0 < share < 0.005 else f"{100 * share:.0f}"


def grouped(values: Values, cells: int) -> list[Values]:
    """Return values in at most `cells` groups of neighbours, none of them empty."""
    return [each for each in np.array_split(values, min(cells, len(values))) if len(each)]


def line_chart(values: Values, width: int, height: int, top: float) -> list[str]:
    """Return a line over values in braille, the highest row first.

    Args:
        values: From left to right, NaN where there is none; neighbours share a dot where they are many.
        width: Cells of a row.
        height: Rows.
        top: Value at the upper edge; the lower edge is 0.
    """
    cells = np.zeros((height, width), np.int64)
    levels = _DOT_ROWS * height
    dots = [
        float(np.nanmean(each)) if (~np.isnan(each)).any() else math.nan for each in _spread(values, width)
    ]
    before: int | None = None
    for place, value in enumerate(dots):
        if math.isnan(value):
            before = None
            continue
        level = min(levels - 1, max(0, round(value / top * (levels - 1)))) if top > 0 else 0
        low, high = (level, level) if before is None else _joined(before, level)
        for each in range(low, high + 1):
            row, dot = divmod(each, _DOT_ROWS)
            cells[height - 1 - row, place // 2] |= _DOTS[place % 2][dot]
        before = level
    return ["".join(chr(_BRAILLE + each) if each else " " for each in row) for row in cells.tolist()]


def _joined(before: int, level: int) -> tuple[int, int]:
    """Return the dots of a level, down or up to the one next to the level before, so that the line holds."""
    if level > before:
        return min(before + 1, level), level
    return level, max(before - 1, level)


def _spread(values: Values, width: int) -> list[Values]:
    """Return the values of each dot from left to right, two dots a cell; few values take several dots."""
    num_dots = 2 * width
    if len(values) >= num_dots:
        return grouped(values, num_dots)
    repeat = max(1, num_dots // max(1, len(values)))
    return [values[place // repeat : place // repeat + 1] for place in range(repeat * len(values))]


def cell_of(place: int, count: int, width: int) -> int:
    """Return the cell of a line chart over `count` values in which value `place` is."""
    if count >= 2 * width:
        sizes = [len(each) for each in np.array_split(np.arange(count), 2 * width)]
        return int(np.searchsorted(np.cumsum(sizes), place, side="right")) // 2
    repeat = max(1, 2 * width // max(1, count))
    return (place * repeat + repeat // 2) // 2


def beside(left: Sequence[Line], right: Sequence[Line], gap: int = 3) -> list[Line]:
    """Return two blocks of lines next to each other."""
    width = max((cell_width(line_text(line)) for line in left), default=0) + gap
    lines: list[Line] = []
    for number in range(max(len(left), len(right))):
        first = left[number] if number < len(left) else ()
        second = right[number] if number < len(right) else ()
        taken = sum(cell_width(span.text) for span in first)
        lines.append((*first, Span(" " * max(0, width - taken)), *second) if second else first)
    return lines


def widest(lines: Sequence[Line]) -> int:
    """Return the cells of the longest line."""
    return max((cell_width(line_text(line)) for line in lines), default=0)


def as_values(numbers: Any) -> Values:
    """Return numbers as an array of float64."""
    return np.asarray(numbers, dtype=np.float64)
