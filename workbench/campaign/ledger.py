"""The ledger of finished cases: a line of JSON each, whole or not there; a case counts once.

Each worker appends to a file of its own, so that no two processes write one file. A line carries its
checksum: what a kill cut off is dropped, and its case runs again.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tracing.errors import EnvironmentProblemError

RESULTS: Final = "results"
"""Folder of the ledgers below a campaign's folder; each is `WORKER.jsonl`."""


class Ledger:
    """One worker's ledger."""

    def __init__(self, folder: Path, worker: str) -> None:
        """Make room for it below a campaign's folder.

        Raises:
            EnvironmentProblemError: The disk refuses.
        """
        self._path = folder / RESULTS / f"{worker}.jsonl"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise EnvironmentProblemError(f"cannot write {self._path}: {problem.strerror}") from None

    def add(self, outcome: Mapping[str, Any]) -> None:
        """Append an outcome; when this returns it survives the death of this process and of the machine.

        Raises:
            EnvironmentProblemError: The disk refuses.
        """
        text = json.dumps(outcome, separators=(",", ":"), allow_nan=False)
        line = f"{zlib.crc32(text.encode()):08x} {text}\n"
        try:
            with self._path.open("ab") as file:
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as problem:
            raise EnvironmentProblemError(f"cannot write {self._path}: {problem.strerror}") from None


def outcomes(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield every whole outcome of a campaign's folder; of a case that two workers finished, the first.

    Canaries are yielded once a worker.
    """
    seen: set[tuple[Any, ...]] = set()
    for path in sorted((folder / RESULTS).glob("*.jsonl")):
        with path.open("rb") as lines:
            for line in lines:
                outcome = _whole(line.rstrip(b"\n"))
                if outcome is None:
                    continue
                key = (outcome["number"], outcome["worker"] if outcome["canary"] else "")
                if key not in seen:
                    seen.add(key)
                    yield outcome


def finished(folder: Path) -> set[int]:
    """Return the numbers of the cases that need not run again."""
    return {outcome["number"] for outcome in outcomes(folder)}


def _whole(line: bytes) -> dict[str, Any] | None:
    crc, _, text = line.partition(b" ")
    if f"{zlib.crc32(text):08x}".encode() != crc:
        return None
    try:
        held = json.loads(text)
    except ValueError:
        return None
    sound = isinstance(held, dict) and type(held.get("number")) is int and isinstance(held.get("worker"), str)
    return {"canary": False, **held} if sound else None
