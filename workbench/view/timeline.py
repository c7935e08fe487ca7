"""One line per step: how much was accepted, what was found, how long it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tracing.finding import Finding
from tracing.moment import STAGES
from tracing.settings import STOP_REASONS
from workbench.view.lines import Line, Role, Span
from workbench.view.stages import duration

Key = tuple[int, int, int]
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
        key: Prompt, turn, step.
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


@dataclass(frozen=True, slots=True)
class FindingCounts:
    """Findings by step, counted once for a whole run."""

    own: Mapping[Key, int]
    consequences: Mapping[Key, int]

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> FindingCounts:
        """Count findings."""
        counts: tuple[Counter[Key], Counter[Key]] = (Counter(), Counter())
        for finding in findings:
            counts[finding.consequence][finding.moment.place] += 1
        return cls(*counts)


def timeline_rows(table: pa.Table, counts: FindingCounts) -> list[TimelineRow]:
    """Return the rows of a table with `COLUMNS`."""
    columns = {name: table.column(name).to_pylist() for name in COLUMNS if name != "accepted_nodes"}
    lengths = _lengths(table.column("accepted_nodes"))
    return [
        _row({name: values[row] for name, values in columns.items()}, lengths[row], counts)
        for row in range(table.num_rows)
    ]


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


def _lengths(column: Any) -> list[int | None]:
    import pyarrow.compute as pc

    lengths: list[int | None] = pc.list_value_length(column).to_pylist()
    return lengths


def _row(values: Mapping[str, Any], num_accepted: int | None, counts: FindingCounts) -> TimelineRow:
    key = (values["prompt_id"], values["turn"], values["step"])
    times = [values[f"{stage}_ns"] for stage in STAGES]
    known = [each for each in times if each is not None]
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
        counts.own.get(key, 0),
        counts.consequences.get(key, 0),
        int(np.sum(known)) if known else None,
        mark if mark in _MARKS else "stop",
    )
