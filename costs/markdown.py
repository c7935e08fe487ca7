"""The table of costs as a section of a page in Markdown: the last three measurements of each row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from costs.kept import Measurement
from costs.row import Row
from costs.table import number
from tracing.errors import UsageError

NUM_RUNS: Final = 3
BEGIN: Final = "<!-- measured: written by python -m costs --kept FILE --markdown docs/costs.md -->"
END: Final = "<!-- end of what was measured -->"


def as_markdown(measurements: Sequence[Measurement], order: Sequence[str]) -> str:
    """Return what was measured on what, and a line for each row.

    Args:
        measurements: Oldest first; of a row the last three count.
        order: Names of rows in the order of the table; others are left out.
    """
    found: dict[str, list[tuple[Row, float]]] = {}
    for each in measurements:
        for row in each.rows:
            found.setdefault(row.name, []).append((row, each.load))
    shown = {name: found[name][-NUM_RUNS:] for name in order if name in found}
    loads = [load for runs in shown.values() for _, load in runs]
    heads = ["row", "goal", *(f"run {number}" for number in range(1, NUM_RUNS + 1)), "held", "how"]
    lines = [
        *(f"* {name}: {text}" for name, text in _machines(measurements)),
        f"* load before: {min(loads, default=0):.2f} to {max(loads, default=0):.2f}; quartiles in brackets",
        "",
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
        *(_line([row for row, _ in runs]) for runs in shown.values()),
    ]
    return "\n".join(lines)


def put(file: Path, text: str) -> None:
    """Put the section into a page, between the two marks.

    Raises:
        UsageError: The page cannot be read, or lacks the marks.
    """
    try:
        page = file.read_text(encoding="utf-8")
    except OSError as problem:
        raise UsageError(f"{file} cannot be read: {problem.strerror or problem}") from None
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UsageError(f"{file} should have a line {BEGIN} and, behind it, a line {END}")
    file.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def _machines(measurements: Sequence[Measurement]) -> list[tuple[str, str]]:
    """Return each fact of a machine once, with all that it was."""
    facts = dict.fromkeys((name, text) for each in measurements for name, text in each.machine.items())
    return list(facts)


def _line(runs: Sequence[Row]) -> str:
    last = runs[-1]
    goal = "" if last.goal is None else f"at {'least' if last.goal.at_least else 'most'} {_with_unit(last)}"
    values = [_value(row) for row in runs] + [""] * (NUM_RUNS - len(runs))
    verdicts = [row.held for row in runs if row.held is not None]
    held = "" if not verdicts else f"{sum(verdicts)} of {len(verdicts)}"
    unit = f", {last.unit}" if last.unit else ""
    cells = [f"`{last.name}`{unit}", goal, *values, held, last.how.replace("|", "\\|")]
    return f"| {' | '.join(cells)} |"


def _with_unit(row: Row) -> str:
    return "" if row.goal is None else f"{number(row.goal.limit)} {row.unit}".strip()


def _value(row: Row) -> str:
    if row.value is None:
        return "-"
    spread = "" if row.spread is None else f" ({' to '.join(map(number, row.spread))})"
    return f"{number(row.value)}{spread}"
