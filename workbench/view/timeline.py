"""One line per step: how much was accepted, what was found, how long it took."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from tracing.finding import Finding
from tracing.moment import STAGES
from tracing.settings import STOP_REASONS
from workbench.view.lines import Line, Role, Span
from workbench.view.stages import duration

Key = tuple[int, int, int]
FindingsOf = Callable[[Key], Sequence[tuple[int, Finding]]]
"""Gives the findings of a step with their numbers."""

COLUMNS: Final = (
    "prompt_id",
    "turn",
    "step",
    "accepted_nodes",
    "stop_reason",
    "launch_refused",
    "incomplete",
    "step_verdict",
    *(f"{stage}_ns" for stage in STAGES),
)
BAR: Final = 6
WITH_TIME: Final = 16
"""Cells of the time and of how a step ended."""
WITH_BAR_FROM: Final = 100
WITH_TIME_FROM: Final = 150
"""Columns of the screen from which on there is room for the bar and the time of each step."""
_MARKS: Final = frozenset({"", "refused", "part", *STOP_REASONS})
_LETTERS: Final = {
    "near_tie": "~",
    "numeric": "n",
    "structural": "S",
    "nondeterministic": "N",
    "inconclusive": "?",
}
_UNFINISHED: Final = {"part": "…", "refused": "x"}
"""Instead of a verdict, for a step that never got one."""

LEGEND: Final = (
    ("▮", "accepted"),
    ("S n N ~ ?", "structural, numeric, nondeterministic, near tie, inconclusive"),
    ("… x", "not finished when the trace ends, launch refused"),
    ("!2", "two findings"),
    ("c2", "two consequences of earlier ones"),
)
"""Signs of a line, with their meanings."""


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One step.

    Attributes:
        num_accepted: A, None where not recorded.
        verdict: The judge's verdict on the step, empty where there is none.
        num_findings: Findings that are no consequence.
        num_consequences: Those that are.
        nanoseconds: Sum of the recorded stage times, None where none is.
        mark: `eos`, `length`, `refused`, `part` or empty.
    """

    key: Key
    num_accepted: int | None
    verdict: str
    num_findings: int
    num_consequences: int
    nanoseconds: int | None
    mark: str


def timeline_rows(table: pa.Table, findings_of: FindingsOf) -> list[TimelineRow]:
    """Return the rows of a table with `COLUMNS`."""
    columns = {name: table.column(name).to_pylist() for name in COLUMNS if name != "accepted_nodes"}
    lengths = pc.list_value_length(table.column("accepted_nodes")).to_pylist()
    return [
        _row({name: values[row] for name, values in columns.items()}, lengths[row], findings_of)
        for row in range(table.num_rows)
    ]


def unfinished_row(key: Key, findings_of: FindingsOf) -> TimelineRow:
    """Return the row of a step that was running when the trace ends."""
    return TimelineRow(key, None, "", *_num_findings(key, findings_of), None, "part")


def _num_findings(key: Key, findings_of: FindingsOf) -> tuple[int, int]:
    """Return how many findings of a step are no consequence, and how many are."""
    consequences = [finding.consequence for _, finding in findings_of(key)]
    return consequences.count(False), consequences.count(True)


@dataclass(frozen=True, slots=True)
class ListColumns:
    """What a list of steps shows of each.

    Attributes:
        place: Cells of the longest place, e.g. 7 for `0:1:234`.
        bar: A bar of what was accepted.
        time: The time, and how the step ended.
    """

    place: int = 5
    bar: bool = True
    time: bool = True

    @property
    def width(self) -> int:
        """Cells of a line."""
        return self.place + 1 + (BAR if self.bar else 0) + 4 + 4 + (WITH_TIME if self.time else 0)

    @classmethod
    def for_screen(cls, columns: int, place: int) -> ListColumns:
        """Return what there is room for beside the panels on a screen of so many columns."""
        return cls(place, bar=columns >= WITH_BAR_FROM, time=columns >= WITH_TIME_FROM)


def place_text(key: Key) -> str:
    """Return prompt, turn and step as a moment begins."""
    return ":".join(str(part) for part in key)


def timeline_line(row: TimelineRow, most_accepted: int, columns: ListColumns) -> Line:
    """Return a step as one line: place, acceptance, verdict, findings, and more where it fits."""
    filled = round(BAR * (row.num_accepted or 0) / max(1, most_accepted))
    accepted = "-" if row.num_accepted is None else str(row.num_accepted)
    role: Role = (
        "bad" if row.num_findings else "warn" if row.num_consequences or row.verdict == "near_tie" else "dim"
    )
    found = (
        f"!{row.num_findings}"
        if row.num_findings
        else f"c{row.num_consequences}"
        if row.num_consequences
        else ""
    )
    letter = _LETTERS.get(row.verdict) or _UNFINISHED.get(row.mark, " ")
    time = "" if row.nanoseconds is None else duration(row.nanoseconds)
    return (
        Span(f"{place_text(row.key):<{columns.place}} ", "plain"),
        Span("▮" * min(filled, BAR) + "·" * (BAR - filled) if columns.bar else "", "accent"),
        Span(f"{accepted:>3} ", "plain"),
        Span(f"{letter}{found:<3}", role),
        Span(f" {time:>7}" if columns.time else "", "dim"),
        Span(f" {row.mark}" if row.mark and columns.time else "", "warn"),
    )


def _row(values: Mapping[str, Any], num_accepted: int | None, findings_of: FindingsOf) -> TimelineRow:
    key = (values["prompt_id"], values["turn"], values["step"])
    known = [time for stage in STAGES if (time := values[f"{stage}_ns"]) is not None]
    mark = (
        "refused"
        if values["launch_refused"]
        else "part"
        if values["incomplete"]
        else values["stop_reason"] or ""
    )
    return TimelineRow(
        key,
        num_accepted,
        values["step_verdict"] or "",
        *_num_findings(key, findings_of),
        sum(known) if known else None,
        mark if mark in _MARKS else "stop",
    )
