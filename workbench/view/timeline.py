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
WITH_TIME: Final = 32
"""Cells from which on the time is shown."""
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


def timeline_line(row: TimelineRow, most_accepted: int, width: int = 40) -> Line:
    """Return a step as one line: place, bar, acceptance, verdict, findings, mark, and time where it fits."""
    place = ":".join(str(part) for part in row.key)
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
        Span(f"{place:<10}", "plain"),
        Span("▮" * min(filled, BAR) + "·" * (BAR - filled), "accent"),
        Span(f"{accepted:>3} ", "plain"),
        Span(f"{letter}{found:<3}", role),
        Span(f" {time:>7}" if width >= WITH_TIME else "", "dim"),
        Span(f" {row.mark}" if row.mark and width >= WITH_TIME else "", "warn"),
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
