"""A line of several spans over as many lines as it takes: a sentence that matters is never cut."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from workbench.view.lines import Line, Span
from workbench.view.width import cell_width

WORDS: Final = re.compile(r"\S*\s*")
MIN_WIDTH: Final = 20


def wrapped(line: Line, width: int, indent: int) -> list[Line]:
    """Return a line broken between words; a word that is wider than a line is left whole.

    Args:
        line: What is broken; of a span that is broken only its first piece keeps the target.
        width: Cells that a line may take.
        indent: Cells before the second and every later line.
    """
    width = max(width, MIN_WIDTH)
    lines: list[list[Span]] = [[]]
    used, begun = 0, False
    for span in line:
        own = span
        for word in WORDS.findall(span.text):
            if begun and word.strip() and used + cell_width(word.rstrip()) > width:
                lines[-1][-1] = replace(lines[-1][-1], text=lines[-1][-1].text.rstrip())
                lines.append([Span(" " * indent)])
                used, begun = indent, False
            last = lines[-1]
            if last and last[-1].role == own.role and own.target is None and own is not span:
                last[-1] = replace(last[-1], text=last[-1].text + word)
            elif word:
                last.append(replace(own, text=word))
            own = replace(own, target=None) if word else own
            used, begun = used + cell_width(word), begun or bool(word.strip())
    return [tuple(each) for each in lines]
