"""What a benchmark shows: tables and plots as plain data, drawn elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from workbench.bench.stats import plain

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        columns: Head of each column, units last.
        rows: Cells; None where there is no number.
        note: What to know when reading it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def lines(self) -> Iterator[str]:
        """Yield the table as text, numbers to the right."""
        cells = [self.columns, *(tuple(cell_text(cell) for cell in row) for row in self.rows)]
        widths = [max(len(line[column]) for line in cells) for column in range(len(self.columns))]
        yield self.title
        for line in cells:
            padded = [
                text.ljust(width) if column == 0 else text.rjust(width)
                for column, (text, width) in enumerate(zip(line, widths, strict=True))
            ]
            yield "  " + "  ".join(padded).rstrip()
        if self.note:
            yield f"  {self.note}"


@dataclass(frozen=True, slots=True)
class Series:
    """One line, set of bars or cloud of points.

    Attributes:
        x, y: Coordinates; a histogram has its values in `x` and no `y`.
        labels: Text of each point, or empty.
    """

    name: str
    x: tuple[Cell, ...]
    y: tuple[Cell, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture to draw.

    Attributes:
        kind: `line`, `bar`, `stack`, `histogram`, `scatter`, or `heat`, whose series are its rows.
        level: A horizontal line to compare with, e.g. 1 for no speed-up.
    """

    kind: str
    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    level: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One study, measured.

    Attributes:
        text: What was done and the result, sentence by sentence.
        num_refused: Texts that were not the teacher's own and that no near tie explains.
    """

    name: str
    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    num_refused: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return plain data, NaN as null."""
        data: dict[str, Any] = plain(asdict(self))
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Study:
        """Read what `as_json` wrote.

        Raises:
            KeyError, TypeError: Something else was written there.
        """
        frozen: dict[str, Any] = _with_tuples(data)
        tables = tuple(Table(**one) for one in frozen["tables"])
        plots = tuple(
            Plot(**one | {"series": tuple(Series(**each) for each in one["series"])})
            for one in frozen["plots"]
        )
        return cls(**frozen | {"tables": tables, "plots": plots})


def cell_text(cell: Cell) -> str:
    """Return a cell as text, with decimals by its size; a dash where there is no number."""
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return "-"
    if not isinstance(cell, float):
        return str(cell)
    if abs(cell) >= 1000:
        return f"{cell:,.0f}"
    size = abs(cell)
    return f"{cell:.{1 if size >= 100 else 2 if size >= 1 or size == 0 else 3 if size >= 0.01 else 4}f}"


def text_lines(studies: Sequence[Study]) -> Iterator[str]:
    """Yield studies as text."""
    for study in studies:
        yield f"## {study.title}"
        yield from study.text
        for table in study.tables:
            yield ""
            yield from table.lines()
        yield ""


def _with_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_tuples(each) for name, each in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value
