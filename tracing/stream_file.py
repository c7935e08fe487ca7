"""The writing end of one self-proving Arrow stream: schema, batches, end record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tracing import frames
from tracing.errors import EnvironmentProblemError
from tracing.files import AppendFile, sync_folder
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
        facts = {
            "kind": "batch",
            "number": sealed.batches,
            "first_row": sealed.rows,
            "num_rows": batch.num_rows,
            **_others(batch),
            **more,
        }
        self._write(batch, facts, Sealed(sealed.rows + batch.num_rows, sealed.batches + 1, 0, ""))
        if not wait:
            return
        try:
            self._file.sync()
        except EnvironmentProblemError:  # what it did not take may be gone: write it again the next time
            self.sealed, self._file.size = sealed, sealed.bytes
            raise

    def close(self, **counts: Any) -> dict[str, Any]:
        """Write the end record (an empty batch with the counts) and the end mark; return the file's facts."""
        sealed = self.sealed
        facts = {"kind": "end", "num_rows": sealed.rows, "num_batches": sealed.batches, **counts}
        empty = pa.RecordBatch.from_pylist([], schema=self._schema)
        self._write(empty, facts, sealed, tail=frames.END_OF_STREAM)
        self._file.sync()
        self._file.close()
        return {**self.sealed.facts(), **counts}

    def abandon(self) -> None:
        """Close the file without an end record."""
        self._file.close()

    def _write(self, batch: pa.RecordBatch, facts: dict[str, Any], after: Sealed, tail: bytes = b"") -> None:
        frame = frames.encode_batch(batch, {**facts, "previous": self.sealed.crc32}, self._codec)
        self._file.size = self.sealed.bytes
        self._file.append(frame + tail)
        self.sealed = Sealed(after.rows, after.batches, self._file.size, frames.crc_of(frame))


def _others(batch: pa.RecordBatch) -> dict[str, list[int]]:
    """Return which rows of a batch are no steps; nothing where all are."""
    if batch.schema.get_field_index("row_kind") < 0:
        return {}
    kinds = batch.column("row_kind").to_pylist()
    rows = [row for row, kind in enumerate(kinds) if kind is not None]
    return {"others": rows} if rows else {}
