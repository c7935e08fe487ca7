"""Lines of text for screen, export and tests; colour is a role, and never the only sign."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Literal, overload

from workbench.view.safe_text import safe_line, safe_text
from workbench.view.targets import Target
from workbench.view.width import cell_width

Role = Literal["plain", "title", "dim", "good", "bad", "warn", "accent"]

MARKS: Final = frozenset({"!", "≠"})
"""First signs of lines on which something is wrong, or different on the two sides."""

MAX_KEPT: Final = 1024
"""Lines that a lazy panel keeps."""


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of one line; its text is made safe, so that it cannot act on a terminal.

    Attributes:
        text: Text, made safe here so that no panel can forget it.
        role: What it is; a screen gives each role a style.
        target: What it refers to, None for plain text.
    """

    text: str
    role: Role = "plain"
    target: Target | None = None

    def __post_init__(self) -> None:
        """Make the text safe."""
        if not self.text.isprintable():
            object.__setattr__(self, "text", safe_text(self.text))


Line = tuple[Span, ...]
Lines = Sequence[Line]
"""What a panel draws; lines may be made on access."""


class LazyLines(Sequence[Line]):
    """Lines that are made on access, for panels of many lines.

    Args:
        count: How many lines.
        make: Returns line `number`; results are cached.
        find: Returns the line of a target without making the lines before it, None where there is none.
        width: Cells of the longest line, None where that is not known without making them.
        sticky: Lines that stay at the top when those after them are scrolled.
        stem: Cells at the left of every line that stay when the rest is scrolled.
    """

    def __init__(
        self,
        count: int,
        make: Callable[[int], Line],
        find: Callable[[Target], int | None] | None = None,
        *,
        width: int | None = None,
        sticky: range = range(0),
        stem: int = 0,
    ) -> None:
        self._count = count
        self._make = lru_cache(maxsize=MAX_KEPT)(make)
        self.find, self.width = find, width
        self.sticky, self.stem = sticky, stem

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, number: int) -> Line: ...
    @overload
    def __getitem__(self, number: slice) -> list[Line]: ...
    def __getitem__(self, number: int | slice) -> Line | list[Line]:
        if isinstance(number, slice):
            return [self._make(each) for each in range(*number.indices(self._count))]
        if not -self._count <= number < self._count:
            raise IndexError(number)
        return self._make(number % self._count)


def note(text: str, role: Role = "dim") -> Line:
    """Return a line of one span."""
    return (Span(text, role),)


def line_text(content: Line) -> str:
    """Return a line as plain text."""
    return "".join(span.text for span in content).rstrip()


def plain_text(content: Iterable[Line]) -> str:
    """Return lines as plain text, each with its newline."""
    return "".join(f"{safe_line(line_text(each))}\n" for each in content)


def targets_of(content: Line) -> Iterator[tuple[int, int, Target]]:
    """Yield start cell, end cell and target of every span that refers to something."""
    start = 0
    for span in content:
        end = start + cell_width(span.text)
        if span.target is not None:
            yield start, end, span.target
        start = end


def wrong_starts(content: Line) -> list[int]:
    """Return the cells where spans that are wrong or different, and refer to something, start.

    A line that carries the mark of something wrong, and no wrong piece, counts by its first target.
    """
    starts, start = [], 0
    for span in content:
        if span.target is not None and span.role in {"bad", "warn"}:
            starts.append(start)
        start += cell_width(span.text)
    marked = bool(content) and content[0].text.strip() in MARKS
    return starts or [first for first, _, _ in targets_of(content)][: int(marked)]


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
