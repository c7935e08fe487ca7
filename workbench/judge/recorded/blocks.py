"""The steps of a recorded path in blocks of flat memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa

from invariants.batch.flat import Flat
from invariants.needs import columns_read
from tracing.columns import KEY_COLUMNS
from tracing.path_reader import PathReader
from tracing.rows import row_of_batch, with_columns
from workbench.judge.recorded.launches import OF_ENGINES

BLOCK_STEPS: Final = 4096
"""Steps judged together; memory does not grow with the length of the run."""
KEPT_ROWS: Final = 4
REQUEST: Final = "request_id"
"""Column that names the request of an engine."""

Row = dict[str, Any]


class Block:
    """Some steps in order, as columns and, one by one, as rows.

    Args:
        batches: What the trace gave: columns that rules read, those that hold anything.

    Attributes:
        table: The steps.
    """

    def __init__(self, batches: list[pa.RecordBatch]) -> None:
        self.table = pa.Table.from_batches(_of_one_schema(batches))
        self._batches = batches
        self._starts = np.cumsum([0, *(batch.num_rows for batch in batches)])
        self._rows: dict[int, Row] = {}

    def has(self, name: str) -> bool:
        """Return whether any step has a value in this column."""
        place = self.table.schema.get_field_index(name)
        return place >= 0 and bool(self.table.column(place).null_count < self.table.num_rows)

    def row(self, number: int) -> Row:
        """Return one step as rules want it; the last few stay unpacked, as neighbours are asked for."""
        if number not in self._rows:
            if len(self._rows) >= KEPT_ROWS:
                self._rows.pop(next(iter(self._rows)))
            of = int(np.searchsorted(self._starts, number, side="right")) - 1
            self._rows[number] = row_of_batch(self._batches[of], number - int(self._starts[of]))
        return self._rows[number]


def blocks(path: PathReader, start: int, stop: int) -> Iterator[Block]:
    """Yield the readable steps `start:stop` of a path, with what rules read, `OF_ENGINES` and requests."""
    waiting: list[pa.RecordBatch] = []
    names = tuple(dict.fromkeys((*columns_read(), *OF_ENGINES, REQUEST)))
    for batch in path.batches(names, start, stop, filled=True):
        waiting.append(batch)
        if sum(each.num_rows for each in waiting) >= BLOCK_STEPS:
            yield Block(waiting)
            waiting = []
    if waiting:
        yield Block(waiting)


def _of_one_schema(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Return batches that have all columns that any of them has, null where one does not."""
    forms = dict.fromkeys(tuple(batch.schema.names) for batch in batches)
    if len(forms) == 1 and batches[0].schema == batches[-1].schema:  # unsealed rows are the last ones
        return batches
    names = list(dict.fromkeys(name for form in forms for name in form))
    return [with_columns(batch, names) for batch in batches]


def rebuilt_in(columns: Mapping[str, Flat]) -> Iterator[tuple[int, int, int]]:
    """Yield prompt, turn and step of those steps of a turn that begin with a prefill, the first left out."""
    if not {"context_token_ids", *KEY_COLUMNS} <= columns.keys():
        return
    prefilled = columns["context_token_ids"].present
    prompts, turns, steps = (columns[name].values for name in KEY_COLUMNS)
    for row in np.flatnonzero(prefilled & (steps > 0)).tolist():
        yield int(prompts[row]), int(turns[row]), int(steps[row])
