"""The whole run in one strip: accepted length, verdict and time of its steps, from left to right."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracing.errors import TraceError
from tracing.moment import STAGES, Moment
from tracing.stream_reader import DisprovedError
from workbench.view.chart import Values, block
from workbench.view.flat import list_lengths
from workbench.view.lines import Line, Role, Span
from workbench.view.run_view import RunView
from workbench.view.stages import duration

CHUNK: Final = 1024
_COLUMNS: Final = ("accepted_nodes", "step_verdict", *(f"{stage}_ns" for stage in STAGES))
_VERDICTS: Final = ("", "near_tie", "inconclusive", "nondeterministic", "numeric", "structural")
"""From harmless to worst; whatever else a verdict is, is harmless."""
_SIGNS: Final = (" ", "~", "?", "N", "n", "S")
_FOUND: Final = "!"
LABEL: Final = 19
MAX_CELLS_A_STEP: Final = 4


@dataclass(frozen=True, slots=True)
class Strip:
    """What the strip is drawn of, a value per step.

    Attributes:
        accepted: Accepted nodes, NaN where not recorded.
        verdicts: Places in the list of verdicts, from harmless to worst.
        nanoseconds: Time of all stages, NaN where not recorded.
        found: Rows with findings.
    """

    accepted: Values = field(default_factory=lambda: np.zeros(0))
    verdicts: Values = field(default_factory=lambda: np.zeros(0))
    nanoseconds: Values = field(default_factory=lambda: np.zeros(0))
    found: tuple[int, ...] = ()

    def cells(self, width: int) -> list[tuple[int, int]]:
        """Return the rows `start:stop` of each cell; few steps take several cells each, equal ones."""
        count = len(self.accepted)
        if count > width:
            bounds = np.linspace(0, count, width + 1).astype(int).tolist()
            return list(itertools.pairwise(bounds))
        repeat = max(1, min(MAX_CELLS_A_STEP, width // max(1, count)))
        return [(row, row + 1) for row in range(count) for _ in range(repeat)]


class StripCount:
    """Reads a run for its strip, a stretch of rows at a time."""

    def __init__(self, view: RunView) -> None:
        self._view = view
        self._parts: list[tuple[Values, Values, Values]] = []
        self.counted = 0

    def count_more(self) -> bool:
        """Read the next stretch of rows; return whether that was the last."""
        total = self._view.num_finished
        if total < self.counted:  # a damaged run has fewer rows now
            self._parts, self.counted = [], 0
        stop = min(self.counted + CHUNK, total)
        if stop > self.counted:
            self._parts.append(_values(self._view.batches(_COLUMNS, self.counted, stop)))
        self.counted = stop
        return stop >= total

    def strip(self) -> Strip:
        """Return what was read so far."""
        if not self._parts:
            return Strip()
        accepted, verdicts, times = (np.concatenate(each) for each in zip(*self._parts, strict=True))
        return Strip(accepted, verdicts, times, tuple(rows_with_findings(self._view)))


def strip_lines(strip: Strip, most_accepted: int, width: int, height: int) -> list[Line]:
    """Draw the strip: one line of accepted lengths with signs in it, or three lines.

    Args:
        strip: What was read.
        most_accepted: What a full block stands for.
        width: Cells of a line, labels included.
        height: Lines: from three on, verdicts and times have their own.
    """
    cells = strip.cells(max(1, width - LABEL))
    found = np.zeros(len(strip.accepted), np.bool_)
    found[[row for row in strip.found if row < len(found)]] = True
    signs = [_sign(strip, found, start, stop) for start, stop in cells]
    bars = [(block(_mean(strip.accepted, *cell) / max(1, most_accepted)), _ACCENT) for cell in cells]
    if height < 3:
        mixed = [sign if sign[0] != " " else bar for sign, bar in zip(signs, bars, strict=True)]
        return [_line("accepted", f"≤{most_accepted}", mixed)]
    times = [_mean(strip.nanoseconds, *cell) for cell in cells]
    longest = max(times, default=0.0)
    drawn: list[tuple[str, Role]] = [(block(each / longest) if longest else " ", "dim") for each in times]
    return [
        _line("accepted", f"≤{most_accepted}", bars),
        _line("verdict", "", signs),
        _line("time", f"≤{duration(int(longest))}" if longest else "", drawn),
    ]


_ACCENT: Final[Role] = "accent"


def _sign(strip: Strip, found: Any, start: int, stop: int) -> tuple[str, Role]:
    """Return the sign of the worst that happened in some rows."""
    worst = int(strip.verdicts[start:stop].max(initial=0))
    if found[start:stop].any():
        return _SIGNS[worst] if worst > 2 else _FOUND, "bad"
    return _SIGNS[worst], "bad" if worst > 2 else "warn"


def _mean(values: Values, start: int, stop: int) -> float:
    """Return the mean of what is recorded, 0 where nothing is."""
    known = values[start:stop]
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else 0.0


def _line(name: str, scale: str, cells: Sequence[tuple[str, Role]]) -> Line:
    label = f" {name:<8} {scale:>8}"[: LABEL - 1].ljust(LABEL)
    return (Span(label, "dim"), *(Span(text, role) for text, role in cells))


def _values(table: pa.Table) -> tuple[Values, Values, Values]:
    accepted = list_lengths(table.column("accepted_nodes")).astype(np.float64)
    accepted[np.asarray(table.column("accepted_nodes").is_null())] = np.nan
    places = {name: place for place, name in enumerate(_VERDICTS)}
    verdicts = [places.get(each or "", 0) for each in table.column("step_verdict").to_pylist()]
    stages = [table.column(f"{stage}_ns") for stage in STAGES]
    known = np.any([np.asarray(each.is_valid()) for each in stages], axis=0)
    times = np.sum([np.asarray(pc.fill_null(each, 0)) for each in stages], axis=0).astype(np.float64)
    times[~known] = np.nan
    return accepted, np.array(verdicts, np.float64), times


def rows_with_findings(view: RunView) -> list[int]:
    """Return the rows that have findings, in their order; a finding at a step that is not there has none.

    Raises:
        DisprovedError: A batch is not what was written; rows are numbered anew after `refresh`.
    """
    rows: set[int] = set()
    for place in {finding.moment.place for finding in view.findings}:
        try:
            rows.add(view.row_of(Moment(*place)))
        except DisprovedError:
            raise
        except TraceError:
            continue
    return sorted(rows)
