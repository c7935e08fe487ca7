"""Counts the drafter's distances over a whole run, a stretch of rows at a time."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from workbench.view.chart import as_values, cell_of, line_chart
from workbench.view.counted import counted
from workbench.view.distance import table_lines
from workbench.view.distance_table import DistanceTable, bucket_labels
from workbench.view.flat import IntArray, flat_lists, list_lengths
from workbench.view.lines import Line, Lines, Span, note
from workbench.view.run_view import RunView

CHUNK: Final = 256
_COLUMNS: Final = ("token_ids", "depths", "draft_top1_offsets")
HEIGHT: Final = 2
"""Lines of the picture over the steps."""
AXIS: Final = 5
MAX_CHART: Final = 100
_TOPS: Final = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Scales of the picture over the steps: the least that holds all of it."""


class RunDistance:
    """Distances over a run, complete or still being counted.

    Attributes:
        table: What was counted.
        counted, total: Rows looked at, and rows there are.
    """

    def __init__(self, view: RunView) -> None:
        self._view = view
        self.table = DistanceTable(view.edges)
        self.counted, self.total = 0, view.num_finished
        self._far: list[IntArray] = []
        self._known: list[IntArray] = []

    def count_more(self) -> bool:
        """Count the next stretch of rows; return whether that was the last."""
        self.total = self._view.num_finished
        stop = min(self.counted + CHUNK, self.total)
        if stop > self.counted:
            far, known = count_table(self.table, self._view.batches(_COLUMNS, self.counted, stop))
            self._far.append(far)
            self._known.append(known)
        self.counted = stop
        return self.complete

    @property
    def complete(self) -> bool:
        """Every row was looked at."""
        return self.counted >= self.total

    def around(self, step: Lines, row: int, width: int) -> list[Line]:
        """Return the lines of a step with the run's far share over the steps before them, its table after."""
        rows = counted(self.counted, "step")
        part = rows if self.complete else f"{self.counted} of {self.total} steps so far"
        if self.table.far_share is None:
            return [*step, note(f"over the run: no distances recorded in {part}")]
        picture = self._over_steps(row, width)
        return [*picture, note(""), *step, note(""), *table_lines(self.table, f"over the run, {part}", width)]

    def _over_steps(self, row: int, width: int) -> list[Line]:
        """Draw the share of the far bucket over the steps as a line, with a mark under the step shown."""
        far, known = as_values(np.concatenate(self._far)), as_values(np.concatenate(self._known))
        shares = np.full(len(far), np.nan)
        np.divide(far, known, out=shares, where=known > 0)
        top = next(each for each in _TOPS if each >= min(1.0, float(np.nanmax(shares))))
        cells = max(10, min(MAX_CHART, width - AXIS - 1))
        drawn = line_chart(shares, cells, HEIGHT, top)
        name = bucket_labels(self.table.edges)[-1]
        axis = [f"{top:.0%}".rjust(AXIS), *(" " * AXIS for _ in drawn[2:]), "0".rjust(AXIS)]
        whole = Span(f"  {self.table.far_share or 0:.1%} over {counted(len(far), 'step')}", "title")
        lines: list[Line] = [(Span(f"{name} over the run's steps", "accent"), whole)]
        lines += [
            (Span(f"{label}▕", "dim"), Span(each, "accent")) for label, each in zip(axis, drawn, strict=True)
        ]
        if row < len(far):
            lines.append(note(" " * (AXIS + 1 + cell_of(row, len(far), cells)) + "▲"))
        return lines


def count_table(table: DistanceTable, rows: pa.Table) -> tuple[IntArray, IntArray]:
    """Add the distances of some rows of a trace.

    Returns:
        How many of the distances of each row are in the last bucket, and how many there are.
    """
    sizes = list_lengths(rows.column("draft_top1_offsets"))
    num_nodes = np.maximum(list_lengths(rows.column("depths")), list_lengths(rows.column("token_ids")))
    whole = (sizes > 0) & (num_nodes > 0) & (sizes % np.maximum(num_nodes, 1) == 0)
    num_heads = np.where(whole, sizes // np.maximum(num_nodes, 1), 0)
    row, place, offset = flat_lists(rows.column("draft_top1_offsets"))
    row, place, offset = (each[whole[row]] for each in (row, place, offset))
    if len(row):
        node, head = np.divmod(place, num_heads[row])
        table.add_flat(offset, head, _depth_at(rows.column("depths"), row, node))
        table.num_steps += int(whole.sum())
    inside = offset >= table.edges[0]
    far = np.bincount(row[offset >= table.edges[-1]], minlength=rows.num_rows)
    return far, np.bincount(row[inside], minlength=rows.num_rows)


def _depth_at(column: pa.ChunkedArray, row: IntArray, node: IntArray) -> IntArray:
    """Return the depth of each of the nodes, -1 where it is not recorded."""
    rows, nodes, depths = flat_lists(column)
    width = int(max(node.max(initial=0), nodes.max(initial=0))) + 1
    table = np.full((int(row.max()) + 1 if len(row) else 1, width), -1, np.int64)
    inside = rows < len(table)
    table[rows[inside], nodes[inside]] = depths[inside]
    return np.asarray(table[row, node])


def count_run(view: RunView) -> RunDistance:
    """Count the whole run."""
    count = RunDistance(view)
    while not count.count_more():
        pass
    return count
