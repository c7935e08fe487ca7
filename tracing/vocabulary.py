"""`vocabulary.arrows`: the raw bytes of every token id that occurs in a run, as a plain Arrow stream."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tracing.columns import COLUMNS
from tracing.journal_frames import TOKENS, Record, encode
from tracing.stream_file import StreamFile
from tracing.values import Cells, Value

VOCABULARY_NAME: Final = "vocabulary.arrows"
VOCABULARY_SCHEMA: Final = pa.schema(
    [pa.field("token_id", pa.int32(), nullable=False), pa.field("token_bytes", pa.binary())]
)
TOKEN_COLUMNS: Final = tuple(column.name for column in COLUMNS if column.unit == "token id")

TokenBytes = Callable[[int], bytes | None]
"""Raw bytes of a token id; None, or an exception, for an id that the tokenizer does not have."""


class VocabularyWriter:
    """Collects token ids as rows are finished; each is asked for once.

    Args:
        folder: The run folder.
        run_id: Identity of the run.
        token_bytes: Gives the bytes of one id; where it fails (an id out of range), null is written.
        flush: Wait until the new file is on the disk.
    """

    def __init__(self, folder: Path, run_id: str, token_bytes: TokenBytes, *, flush: bool = False) -> None:
        self._stream = StreamFile(folder / VOCABULARY_NAME, VOCABULARY_SCHEMA, {"run": run_id}, flush=flush)
        self._token_bytes = token_bytes
        self._lock = threading.RLock()
        self._sealing = threading.Lock()
        self._known: set[int] = set()
        self._pending: dict[int, bytes | None] = {}
        self._unwritten: dict[int, bytes | None] = {}

    def take(self, row: Mapping[str, Value]) -> dict[int, bytes | None]:
        """Note the row's new ids; return those that no file holds yet, to be journaled with the row.

        Until `written` says so, an id goes to every journal whose rows use it: it is on record before its
        first use whichever of several threads comes first.
        """
        with self._lock:
            ids = _token_ids(row)
            fresh = ids - self._known
            if fresh:
                self.add({token_id: self._bytes_of(token_id) for token_id in sorted(fresh)})
            waiting = self._unwritten.keys() & ids if self._unwritten else ()
            return {token_id: self._unwritten[token_id] for token_id in sorted(waiting)}

    def written(self, tokens: Iterable[int]) -> None:
        """Take note that ids are in a journal."""
        with self._lock:
            for token_id in tokens:
                self._unwritten.pop(token_id, None)

    def add(self, found: Mapping[int, bytes | None]) -> None:
        """Take ids whose bytes are known."""
        with self._lock:
            self._pending.update(found)
            self._unwritten.update(found)
            self._known.update(found)

    def _bytes_of(self, token_id: int) -> bytes | None:
        try:
            raw = self._token_bytes(token_id)
            return None if raw is None else bytes(raw)
        except Exception:  # noqa: BLE001 any tokenizer may fail in its own way on a wrong id, which is evidence
            return None

    def seal(self) -> None:
        """Write what is pending; a failure leaves it pending."""
        with self._sealing:
            with self._lock:
                pending = dict(self._pending)
            if not pending:
                return
            columns = [pa.array(list(pending), pa.int32()), pa.array(list(pending.values()), pa.binary())]
            self._stream.append(pa.RecordBatch.from_arrays(columns, schema=VOCABULARY_SCHEMA))
            with self._lock:
                for token_id in pending:
                    self._pending.pop(token_id, None)
                    self._unwritten.pop(token_id, None)

    def close(self) -> dict[str, Any]:
        """Seal the rest, write the end record and return the file's facts for the manifest."""
        self.seal()
        return self._stream.close()


def tokens_record(tokens: Mapping[int, bytes | None]) -> Record:
    """Return the journal record of some token ids."""
    described = [[token_id, None if raw is None else raw.hex()] for token_id, raw in tokens.items()]
    return encode(TOKENS, {"tokens": described})


def _token_ids(row: Mapping[str, Value]) -> set[int]:
    found: set[int] = set()
    for name in TOKEN_COLUMNS:
        value = row.get(name)
        if isinstance(value, Cells):
            values = value.values if value.missing is None else value.values[~value.missing]
            found.update(np.unique(values).tolist())
        elif isinstance(value, int):
            found.add(value)
    return found
