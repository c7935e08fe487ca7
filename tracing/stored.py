"""Batches that are copied from file to file as they are stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tracing.ipc_message import MAX_BATCH_STEPS
from tracing.path_reader import PathReader
from tracing.schema import FORMAT_VERSION, arrow_schema
from tracing.stream_reader import StreamReader


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A proven batch as it lies in its file.

    Attributes:
        frame: The batch and the dictionaries that it needs.
        facts: Its metadata.
        num_incomplete: Rows of it that say that something is missing.
    """

    frame: bytes
    facts: Mapping[str, Any]
    num_incomplete: int

    @property
    def num_rows(self) -> int:
        """Its rows."""
        return int(self.facts["num_rows"])


def pieces(
    path: PathReader, start: int = 0, stop: int | None = None
) -> Iterator[StoredBatch | pa.RecordBatch]:
    """Yield the rows `start:stop` of a path in order: full batches as they are stored, others unpacked.

    Batches of another format, or with columns that this version does not know, are unpacked; so are those
    of which rows are left out.

    Raises:
        CorruptFrameError: A batch cannot be unpacked.
        DisprovedError: A batch is not what was written.
    """
    stop = path.num_steps if stop is None else min(stop, path.num_steps)
    stream = path.stream
    as_stored = stream.facts.get("format") == FORMAT_VERSION and stream.schema.equals(arrow_schema())
    while start < stop:
        is_sealed = start < stream.num_rows
        number, within = stream.locate(start) if is_sealed else (0, 0)
        left = stream.num_given(number) - within if is_sealed else stop - start
        if as_stored and is_sealed and not within and left == MAX_BATCH_STEPS and start + left <= stop:
            yield _stored(stream, number)
        else:
            yield from path.batches(None, start, min(start + left, stop))
        start += left


def _stored(stream: StreamReader, number: int) -> StoredBatch:
    frame, facts = stream.stored(number), stream.batches[number].facts
    null = stream.unpacker.num_nulls(frame, MAX_BATCH_STEPS, "incomplete")
    return StoredBatch(frame, facts, MAX_BATCH_STEPS - null)
