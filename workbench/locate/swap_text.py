"""The swap matrix and the ways of a row, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tracing.finding import Finding
from workbench.locate.swap import Swapped
from workbench.locate.ways import Way, Ways
from workbench.view.counted import counted

HELD: Final = "ok"
NOT_SWAPPED: Final = (
    "not swapped the factory of the path takes no keyword argument eager (see docs/locate.md)"
)


def swap_lines(swapped: Swapped | None, ways: Ways | None) -> list[str]:
    """Return the matrix, the smallest sets, and the ways of the disputed row."""
    matrix = [NOT_SWAPPED] if swapped is None else _matrix(swapped)
    return [*matrix, *(() if ways is None else _ways(ways))]


def _matrix(swapped: Swapped) -> Iterator[str]:
    if swapped.rows:
        cells = [(row.name, _cell(row.eager), _cell(row.fused)) for row in swapped.rows]
        yield from _table([("swapped", "it alone eager", "it alone fused"), *cells], "swap")
    yield f"swapped     {swapped.conclusion}"
    if swapped.breaking and swapped.mending:
        yield f"{'':<12}fused in an eager run, it breaks that: {swapped.named(swapped.breaking)}"
    if swapped.shared is not None:
        yield f"{'':<12}with everything eager: {_cell(swapped.shared)}"
    if swapped.first is not None:
        step = "" if swapped.last is None else f", most up to step {swapped.last[2]}"
        yield f"{'':<12}{counted(swapped.num_runs, 'run')}{step}"


def _ways(ways: Ways) -> Iterator[str]:
    variants = list(ways.meaning)
    rows = [("", "rows", *variants)]
    rows += [(way.name, str(way.num_rows), *(_error(way, name) for name in variants)) for way in ways.ways]
    yield f"the row     {ways.moment}: largest error of its logits, in units of what is allowed"
    yield from _table(rows, "")
    for name, sentence in ways.meaning.items():
        yield f"{'':<12}{name}: {sentence}"


def _error(way: Way, name: str) -> str:
    error = way.error[name]
    if error is None:
        return "not run"
    return f"{error:.3g} {'ok' if error <= 1 else 'wrong'}"


def _cell(finding: Finding | None) -> str:
    return HELD if finding is None else f"{finding.rule or finding.verdict} {finding.moment}"


def _table(rows: Sequence[Sequence[str]], title: str) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"{title if number == 0 else '':<12}{cells.rstrip()}"
