"""How many terminal cells a text takes, so that columns line up with wide and combining characters."""

from __future__ import annotations

import unicodedata
from typing import Final

_WIDE: Final = frozenset({"W", "F"})
_ZERO: Final = frozenset({"Mn", "Me"})
ELLIPSIS: Final = "…"


def cell_width(text: str) -> int:
    """Return the cells that a safe text takes in a terminal."""
    if text.isascii():
        return len(text)
    return sum(_width(character) for character in text)


def fitted(text: str, width: int) -> str:
    """Return the text cut with an ellipsis or filled with spaces to exactly `width` cells."""
    taken = cell_width(text)
    if taken <= width:
        return text + " " * (width - taken)
    kept, used = "", 0
    for character in text:
        more = _width(character)
        if used + more > width - 1:
            break
        kept, used = kept + character, used + more
    return kept + ELLIPSIS + " " * (width - used - 1) if width > 0 else ""


def shortened(text: str, width: int) -> str:
    """Return the text, cut with an ellipsis where it takes more than `width` cells."""
    return text if cell_width(text) <= width else fitted(text, width).rstrip(" ")


def _width(character: str) -> int:
    if unicodedata.category(character) in _ZERO:
        return 0
    return 2 if unicodedata.east_asian_width(character) in _WIDE else 1
