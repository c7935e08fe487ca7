"""The rules over launches on a recorded path: all its rows, those that are no steps too, launch by launch."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from invariants.context import RunContext
from invariants.launches.checker import COLUMNS, LaunchChecker, by_launch
from invariants.outcome import Counts, Outcome
from invariants.selection import Selection
from tracing.arrow_values import null_mask, values_of
from tracing.path_reader import PathReader
from tracing.reader import open_run
from tracing.rows import row_of_batch

OF_ENGINES: Final = ("launch", "kv_len")
"""Columns one of which a path has that is an engine's."""
ROWS: Final = 64
"""Rows that are unpacked together where a trace is not in the order of its launches."""
KEPT: Final = 512
"""So many such pieces are kept."""
LOST: Final = "rows of the path are lost, so what its requests hold is not known"
SKIPPED: Final = "of each turn only some steps are recorded, as declared"
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CheckedLaunches:
    """What the rules over launches said.

    Attributes:
        counts: By rule id.
        outcomes: Those that were violated or not, launch after launch.
    """

    counts: dict[str, Counts]
    outcomes: tuple[Outcome, ...] = ()


def check_launches(
    path: PathReader, context: RunContext, selection: Selection, *, of_engine: bool, reason: str = ""
) -> CheckedLaunches:
    """Check the launches of a path.

    Args:
        path: Its steps.
        context: Facts of the run.
        selection: Which rules.
        of_engine: Whether a step of it has one of `OF_ENGINES`; without, nothing is looked at.
        reason: Why nothing is to be looked at, or empty.

    Raises:
        TraceError: A batch cannot be unpacked.
    """
    checker = LaunchChecker(path.name, context, selection)
    missing = "" if of_engine else OF_ENGINES[0]
    if missing or reason:
        return CheckedLaunches(_not_checked(selection, path.num_steps, reason, missing))
    every = open_run(path.stream.path.parent, every_row=True).path(path.name)
    outcomes = [each for rows in by_launch(_in_order(every)) for each in checker.launch(rows)]
    return CheckedLaunches(checker.counts, tuple(outcomes))


def _not_checked(selection: Selection, num_steps: int, reason: str, missing: str) -> dict[str, Counts]:
    reason = reason or f"column {missing} was not recorded"
    lacking = Counter({missing: num_steps} if missing else {})
    return {
        rule.id: Counts(not_checked=num_steps, reasons=Counter({reason: num_steps}), missing=lacking.copy())
        for rule in selection.rules()
        if rule.scope == "launch"
    }


def _in_order(path: PathReader) -> Iterator[Row]:
    """Yield the rows by launch; merged traces are sorted by request."""
    launches, ranks = (_numbers(path, name) for name in ("launch", "dp_rank"))
    order = np.lexsort((ranks, launches))
    if (np.diff(order) == 1).all():
        for batch in path.batches(COLUMNS):
            yield from (row_of_batch(batch, number) for number in range(batch.num_rows))
        return
    kept: OrderedDict[int, list[Row]] = OrderedDict()
    for number in order.tolist():
        piece = number // ROWS
        if piece not in kept:
            batches = path.batches(COLUMNS, piece * ROWS, (piece + 1) * ROWS)
            kept[piece] = [row_of_batch(batch, row) for batch in batches for row in range(batch.num_rows)]
            if len(kept) > KEPT:
                kept.popitem(last=False)
        kept.move_to_end(piece)
        yield kept[piece][number % ROWS]


def _numbers(path: PathReader, name: str) -> NDArray[np.int64]:
    """Return a scalar column of all rows; a null as the row before has it, so that the order stays."""
    found: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
    last = -1
    for batch in path.batches([name]):
        column = batch.column(0)
        values, nulls = np.array(values_of(column), dtype=np.int64), null_mask(column)
        there = np.ones(len(values), np.bool_) if nulls is None else ~nulls
        known = np.concatenate([[last], np.where(there, values, 0)])
        place = np.maximum.accumulate(np.where(np.append(True, there), np.arange(len(known)), 0))
        found.append(known[place][1:])
        last = int(found[-1][-1]) if len(found[-1]) else last
    return np.concatenate(found)
