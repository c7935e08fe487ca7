"""Rows that have ended and are in no sealed batch: how many are kept while the disk refuses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tracing import journal_frames
from tracing.ipc_message import MAX_BATCH_STEPS
from tracing.values import Value

MAX_ROWS: Final = 5 * MAX_BATCH_STEPS
"""Most rows that are kept, those of a batch that is being written included; the next ones are lost."""
SEAL_BYTES: Final = 32 << 20
MAX_BYTES: Final = 2 * SEAL_BYTES
MAX_GAPS: Final = 1000
"""Most places that are named at which rows were lost; a later loss counts for the last of them."""


@dataclass(slots=True)
class Ended:
    """A row that has ended.

    Attributes:
        number: Of the row in its path.
        row: Its columns.
        num_bytes: About what it takes in memory.
        facts: What its end says besides columns, as `journal_frames.encode` takes it.
        records: What the journal has to take.
        tokens: The record of new token ids that went before them.
        is_written: The journal has them.
    """

    number: int
    row: Mapping[str, Value]
    num_bytes: int
    facts: bytes
    records: tuple[journal_frames.Record, ...]
    tokens: tuple[journal_frames.Record, ...] = ()
    is_written: bool = False

    def for_fresh_journal(self) -> tuple[journal_frames.Record, ...]:
        """Return what a journal without the records of the step's stages has to begin with.

        Nothing where the row is still to be written; it will be whole.
        """
        end = journal_frames.encode(journal_frames.END, self.facts, self.row)
        if self.is_written:
            return (*self.tokens, end)
        self.records = (*self.records[:-1], end)
        return ()


class Backlog:
    """Rows of a path between their end and a sealed batch; its size is bounded.

    Attributes:
        num_lost: Rows that it had no room for.
        gaps: `[row, count]`: so many rows were lost before that row.
    """

    def __init__(self) -> None:
        self.num_lost = 0
        self.gaps: list[list[int]] = []
        self._rows: list[Ended] = []
        self._bytes = 0
        self._num_written = 0
        self._has_gap = False
        self._rest = 0

    @property
    def is_full(self) -> bool:
        """No more rows are kept."""
        return len(self._rows) >= MAX_ROWS or self._bytes >= MAX_BYTES

    @property
    def is_due(self) -> bool:
        """There is enough for a batch, and the last refusal is some steps ago."""
        return not self._rest and (len(self._rows) >= MAX_BATCH_STEPS or self._bytes >= SEAL_BYTES)

    def num_rows(self, sealed: int) -> int:
        """Return how many rows there are, those in batches included."""
        return max(sealed, self._rows[-1].number + 1 if self._rows else 0)

    def keep(self, ended: Ended) -> None:
        """Take a row in."""
        self._rows.append(ended)
        self._bytes += ended.num_bytes
        self._rest = max(self._rest - 1, 0)

    def lose(self, number: int) -> int:
        """Count the row that would have been this number as lost; return how many are by now."""
        self.num_lost += 1
        self._rest = max(self._rest - 1, 0)
        if self._has_gap or len(self.gaps) >= MAX_GAPS:
            self.gaps[-1][1] += 1
        else:
            self.gaps.append([number, 1])
            self._has_gap = True
        return self.num_lost

    def take_gap(self) -> tuple[journal_frames.Record, ...]:
        """Return what the journal has to say before the next row, if rows were lost since the last."""
        if not self._has_gap:
            return ()
        self._has_gap = False
        return (journal_frames.encode(journal_frames.LOST, {"gaps": [list(self.gaps[-1])]}),)

    def next_unwritten(self) -> Ended | None:
        """Return the oldest row that the journal lacks."""
        return self._rows[self._num_written] if self._num_written < len(self._rows) else None

    def written(self) -> None:
        """Take note that the journal has it."""
        self._rows[self._num_written].is_written = True
        self._num_written += 1

    def unsealed(self, sealed: int) -> list[Ended]:
        """Return the rows from number `sealed` on; an interrupt may fall inside a seal."""
        return [ended for ended in self._rows if ended.number >= sealed]

    def forget(self, sealed: int) -> None:
        """Forget the rows before number `sealed`: batches hold them."""
        rows = self.unsealed(sealed)
        self._num_written = max(self._num_written - len(self._rows) + len(rows), 0)
        self._rows, self._bytes, self._rest = rows, sum(ended.num_bytes for ended in rows), 0

    def postpone(self) -> None:
        """Let some steps pass before the next seal: each try takes as long as one that succeeds."""
        self._rest = MAX_BATCH_STEPS
