"""Counts the drafter's distances over a whole run, a stretch of rows at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from tracing.rows import row_of_batch
from workbench.view.distance import DistanceTable, table_lines
from workbench.view.lines import Line, note
from workbench.view.run_view import RunView

CHUNK: Final = 512
_COLUMNS: Final = ("depths", "draft_top1_offsets")


@dataclass(slots=True)
class RunDistance:
    """Distances over a run, complete or still being counted.

    Attributes:
        table: What was counted.
        counted, total: Rows looked at, and rows there are.
    """

    table: DistanceTable
    counted: int
    total: int

    @property
    def complete(self) -> bool:
        """Every row was looked at."""
        return self.counted >= self.total

    def lines(self) -> list[Line]:
        """Draw it, saying how much of the run it covers."""
        part = f"{self.counted} rows" if self.complete else f"{self.counted} of {self.total} rows so far"
        if not self.table.num_steps:
            return [note(f"over the run: no distances recorded in {part}")]
        return table_lines(self.table, f"over the run, {part}")


def start_count(view: RunView) -> RunDistance:
    """Return a count of nothing yet."""
    return RunDistance(DistanceTable(view.edges), 0, view.num_finished)


def count_more(view: RunView, count: RunDistance) -> RunDistance:
    """Count the next stretch of rows and return the same count."""
    count.total = view.num_finished
    stop = min(count.counted + CHUNK, count.total)
    for batch in view.batches(_COLUMNS, count.counted, stop).to_batches():
        for number in range(batch.num_rows):
            row = row_of_batch(batch, number)
            offsets, depths = row["draft_top1_offsets"], row["depths"]
            if isinstance(offsets, np.ndarray) and offsets.ndim == 2:
                count.table.add(offsets, depths if isinstance(depths, np.ndarray) else None)
    count.counted = stop
    return count


def count_run(view: RunView) -> RunDistance:
    """Count the whole run."""
    count = start_count(view)
    while not count.complete:
        count_more(view, count)
    return count
