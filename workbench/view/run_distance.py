"""Counts the drafter's distances over a whole run, a stretch of rows at a time."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from workbench.view.distance import DistanceTable, bucket_names, table_lines
from workbench.view.flat import IntArray, flat_lists, list_lengths
from workbench.view.lines import Line, Lines, Span, note
from workbench.view.run_view import RunView

CHUNK: Final = 256
_COLUMNS: Final = ("token_ids", "depths", "draft_top1_offsets")


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

    def count_more(self) -> bool:
        """Count the next stretch of rows; return whether that was the last."""
        self.total = self._view.num_finished
        stop = min(self.counted + CHUNK, self.total)
        if stop > self.counted:
            count_table(self.table, self._view.batches(_COLUMNS, self.counted, stop))
        self.counted = stop
        return self.complete

    @property
    def complete(self) -> bool:
        """Every row was looked at."""
        return self.counted >= self.total

    def around(self, step: Lines) -> list[Line]:
        """Return the lines of a step with the run's share of the far bucket before them, its table after."""
        part = f"{self.counted} rows" if self.complete else f"{self.counted} of {self.total} rows so far"
        far = self.table.far_share
        if far is None:
            return [*step, note(f"over the run: no distances recorded in {part}")]
        name = bucket_names(self.table.edges)[-1]
        head = (Span(f"{name} {far:.1%}", "accent"), Span(f"  over the run, {part}", "title"))
        return [head, note(""), *step, note(""), *table_lines(self.table, f"over the run, {part}")]


def count_table(table: DistanceTable, rows: pa.Table) -> None:
    """Add the distances of some rows of a trace."""
    sizes = list_lengths(rows.column("draft_top1_offsets"))
    num_nodes = np.maximum(list_lengths(rows.column("depths")), list_lengths(rows.column("token_ids")))
    whole = (sizes > 0) & (num_nodes > 0) & (sizes % np.maximum(num_nodes, 1) == 0)
    num_heads = np.where(whole, sizes // np.maximum(num_nodes, 1), 0)
    row, place, offset = flat_lists(rows.column("draft_top1_offsets"))
    row, place, offset = (each[whole[row]] for each in (row, place, offset))
    if not len(row):
        return
    node, head = np.divmod(place, num_heads[row])
    table.add_flat(offset, head, _depth_at(rows.column("depths"), row, node))
    table.num_steps += int(whole.sum())


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
