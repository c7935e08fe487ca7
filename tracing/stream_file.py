"""The writing end of one self-proving Arrow stream: schema, batches, end record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tracing import frames
from tracing.errors import EnvironmentProblemError
from tracing.files import AppendFile, sync_folder
from tracing.restamping import restamped
from tracing.schema import FORMAT_VERSION


@dataclass(frozen=True, slots=True)
class Sealed:
    """How far a stream file is whole: one value, so that an interrupt cannot leave it half updated.

    Attributes:
        rows, batches: Counts.
        bytes: Size of the file.
        crc32: Checksum of the last frame, which vouches for all before it.
    """

    rows: int
    batches: int
    bytes: int
    crc32: str

    def facts(self) -> dict[str, Any]:
        """Return plain data for the journal's head and the manifest."""
        return {"rows": self.rows, "batches": self.batches, "bytes": self.bytes, "crc32": self.crc32}


class StreamFile:
    """Appends batches as stamped frames.

    Args:
        path: The file; it is created.
        schema: Of every batch.
        facts: Flat facts for the schema's metadata, e.g. the run's identity.
        codec: `zstd` or `lz4`.
        flush: Wait at once until its head and its name are on the disk; batches always are.
    """

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        facts: dict[str, Any],
        codec: str = "lz4",
        *,
        flush: bool = False,
    ) -> None:
        self._schema = schema
        self._codec = codec
        self._file = AppendFile(path, flush=flush)
        head = frames.encode_schema(schema, {"format": FORMAT_VERSION, **facts})
        self._file.append(head)
        self.sealed = Sealed(0, 0, self._file.size, frames.crc_of(head))
        if flush:
            sync_folder(path.parent)

    def append(self, batch: pa.RecordBatch, *, wait: bool = True, **more: bool) -> None:
        """Write one batch and wait until it is on the disk.

        Args:
            batch: In the file's schema.
            wait: False leaves the waiting to a later batch, or to `close`.
            more: Further facts for its metadata.

        Raises:
            EnvironmentProblemError: The disk refused it; the file is as before.
        """
        sealed = self.sealed
        self._file.check_place()
        facts = {**self._next_batch(batch.num_rows), **_others(batch), **more}
        self._write(frames.encode_batch(batch, facts, self._codec), batch.num_rows, 1)
        if not wait:
            return
        try:
            self._file.sync()
        except EnvironmentProblemError:  # what it did not take may be gone: write it again the next time
            self.sealed, self._file.size = sealed, sealed.bytes
            raise

    def append_stored(self, frame: bytes, old: Mapping[str, Any], **more: bool) -> None:
        """Write a proven batch of another file of the same schema as it is stored; `close` waits for it.

        Args:
            frame: The batch and its dictionaries.
            old: Its facts there.
            more: Further facts for its metadata.

        Raises:
            EnvironmentProblemError: The disk refused it; the file is as before.
        """
        self._file.check_place()
        others = {"others": old["others"]} if "others" in old else {}
        facts = {**self._next_batch(old["num_rows"]), **others, **more}
        self._write(restamped(frame, facts), old["num_rows"], 1)

    def _next_batch(self, num_rows: int) -> dict[str, Any]:
        sealed = self.sealed
        counts = {"number": sealed.batches, "first_row": sealed.rows, "num_rows": num_rows}
        return {"kind": "batch", **counts, "previous": sealed.crc32}

    def close(self, **counts: Any) -> dict[str, Any]:
        """Write the end record (an empty batch with the counts) and the end mark; return the file's facts."""
        sealed = self.sealed
        ends = {"kind": "end", "num_rows": sealed.rows, "num_batches": sealed.batches}
        empty = pa.RecordBatch.from_pylist([], schema=self._schema)
        facts = {**ends, **counts, "previous": sealed.crc32}
        self._write(frames.encode_batch(empty, facts, self._codec), 0, 0, tail=frames.END_OF_STREAM)
        self._file.sync()
        self._file.close()
        return {**self.sealed.facts(), **counts}

    def abandon(self) -> None:
        """Close the file without an end record."""
        self._file.close()

    def _write(self, frame: bytes, num_rows: int, num_batches: int, tail: bytes = b"") -> None:
        sealed = self.sealed
        self._file.size = sealed.bytes
        self._file.append(frame + tail)
        counts = sealed.rows + num_rows, sealed.batches + num_batches
        self.sealed = Sealed(*counts, self._file.size, frames.crc_of(frame))


def _others(batch: pa.RecordBatch) -> dict[str, list[int]]:
    """Return which rows of a batch are no steps; nothing where all are."""
    if batch.schema.get_field_index("row_kind") < 0:
        return {}
    kinds = batch.column("row_kind").to_pylist()
    rows = [row for row, kind in enumerate(kinds) if kind is not None]
    return {"others": rows} if rows else {}
