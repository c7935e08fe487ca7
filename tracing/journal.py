"""`<path>.journal`: the steps that are not sealed yet, and the inputs of the stage that is about to run.

Append-only; after a seal a fresh file takes its place in one go, so a reader that follows the run and a
reader after `kill -9` both see a consistent prefix. Rows carry their number, and one that is already sealed
is skipped: at every moment a finished step is in one of the two files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tracing import journal_frames
from tracing.errors import TraceError, as_utf8
from tracing.files import AppendFile, environment_problem, sync_folder
from tracing.ipc_message import CorruptFrameError, TornFrameError
from tracing.journal_frames import Entry, Record
from tracing.moment import Moment
from tracing.values import Value


class _Whole(NamedTuple):
    """How far a journal is whole, and the checksum that its next record continues."""

    file: AppendFile
    size: int
    crc: int


class Journal:
    """The writing end.

    Args:
        path: The file.
        head: Of the first record.
        flush: Wait after each record until it is on the disk.
    """

    def __init__(self, path: Path, head: dict[str, Any], *, flush: bool = False) -> None:
        self._path = path
        self._flush = flush
        self._whole: _Whole | None = None
        self.restart(head, ())

    def append(self, *records: Record) -> None:
        """Hand records to the operating system in one write.

        Raises:
            EnvironmentProblemError: The disk refused them.
        """
        if self._whole is None:
            raise TraceError(f"{self._path} is closed")
        file = self._whole.file
        file.size = self._whole.size  # an interrupt may have fallen between a record and its checksum
        data, crc = journal_frames.chain(records, self._whole.crc)
        file.append(data)
        self._whole = _Whole(file, file.size, crc)

    def restart(self, head: dict[str, Any], carried: Sequence[Record]) -> None:
        """Begin a fresh journal with a head that counts what is sealed, and the records of open steps."""
        data, crc = journal_frames.chain((journal_frames.encode(journal_frames.HEAD, head), *carried))
        fresh = AppendFile(self._path.with_name(self._path.name + ".new"), flush=self._flush)
        try:
            fresh.append(data)
            fresh.path.replace(self._path)
            if self._flush:
                sync_folder(self._path.parent)
        except OSError as problem:
            fresh.close()
            raise environment_problem(self._path, problem) from None
        except BaseException:
            fresh.close()
            raise
        old, self._whole = self._whole, _Whole(fresh, fresh.size, crc)
        if old is not None:
            old.file.close()

    def close(self, *, remove: bool) -> None:
        """Close it, and remove the file once everything is sealed."""
        if self._whole is not None:
            self._whole.file.close()
            self._whole = None
        if remove:
            self._path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class InProgressStep:
    """A step that had begun and not finished when the writer last wrote.

    Attributes:
        moment: Which one; its stage is the one that was about to run or running, empty before the first.
        columns: What its earlier stages had recorded: a `Value` each; from a `PathReader`, as its `step`
            gives them.
        inputs: What that stage was given.
    """

    moment: Moment
    columns: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class JournalContent:
    """What a journal holds.

    Attributes:
        head: Its `run` and `path`, and what was sealed when it began: `rows`, `batches`, `bytes`, `crc32`;
            None where unreadable.
        rows: Finished steps by row number.
        open_steps: Steps in progress, oldest first.
        tokens: Bytes of token ids that are not in the vocabulary file yet.
        lost: Row number to how many steps were lost before it.
        num_bytes: Bytes of whole records.
        is_chained: Each record vouches for those before it.
        problem: Why reading stopped early (`TornFrameError`, `CorruptFrameError`), or None.
    """

    head: dict[str, Any] | None = None
    rows: dict[int, dict[str, Value]] = field(default_factory=dict)
    open_steps: dict[int, InProgressStep] = field(default_factory=dict)
    tokens: dict[int, bytes | None] = field(default_factory=dict)
    lost: dict[int, int] = field(default_factory=dict)
    num_bytes: int = 0
    is_chained: bool = False
    problem: TraceError | None = None


def read_journal(data: bytes) -> JournalContent:
    """Read as many records as are whole; `problem` is what stopped the reading."""
    content = JournalContent()
    try:
        for entry, stop in journal_frames.scan(memoryview(data)):
            if content.head is None and entry.kind != journal_frames.HEAD:
                raise CorruptFrameError("does not begin with a head record")
            _apply(content, entry)
            content.num_bytes, content.is_chained = stop, entry.is_chained
        if content.head is None:
            content.problem = TornFrameError("holds no head record")
    except (TornFrameError, CorruptFrameError) as problem:
        content.problem = problem
    return content


def _apply(content: JournalContent, entry: Entry) -> None:
    """Take one record in.

    Raises:
        CorruptFrameError: A proven record that makes no sense here.
    """
    try:
        if entry.kind == journal_frames.HEAD:
            content.head, content.lost = _head_of(entry), gaps_of(entry.facts.get("lost", []))
        elif entry.kind == journal_frames.LOST:
            content.lost |= gaps_of(entry.facts["gaps"])
        elif entry.kind == journal_frames.TOKENS:
            content.tokens.update(_tokens(entry.facts["tokens"]))
        elif entry.kind in {journal_frames.STAGE, journal_frames.END}:
            _apply_step(content, entry)
        else:
            raise CorruptFrameError(f"unknown record kind {entry.kind}")
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError):
        raise CorruptFrameError("a record lacks what its kind must have") from None


def _head_of(entry: Entry) -> dict[str, Any]:
    head = {key: entry.facts[key] for key in ("rows", "batches", "bytes", "crc32", "run")}
    if not all(_is_count(head[key]) for key in ("rows", "batches", "bytes")):
        raise ValueError("counts should be integers")
    return {**head, "path": entry.facts.get("path")}


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 53


def gaps_of(described: Any) -> dict[int, int]:
    """Return how many steps were lost before which row.

    Raises:
        ValueError, TypeError: They are none.
    """
    gaps = [(row, count) for row, count in described]
    if not all(_is_count(each) for gap in gaps for each in gap):
        raise ValueError("lost steps should be counted")
    return dict(gaps)


def _tokens(described: Any) -> dict[int, bytes | None]:
    return {int(token_id): None if text is None else bytes.fromhex(text) for token_id, text in described}


def _apply_step(content: JournalContent, entry: Entry) -> None:
    uid = int(entry.facts["uid"])
    prompt_id, turn, step = (int(part) for part in entry.facts["at"])
    if not all(-(1 << 31) <= part < 1 << 31 for part in (prompt_id, turn, step)):
        raise ValueError("a key is out of range")
    before = content.open_steps.get(uid)
    columns = {**(before.columns if before else {}), **entry.columns}
    if entry.kind == journal_frames.STAGE:
        where = Moment(prompt_id, turn, step, as_utf8(str(entry.facts["stage"])))
        content.open_steps[uid] = InProgressStep(where, columns, entry.inputs)
        return
    content.open_steps.pop(uid, None)
    row = {**columns, "prompt_id": prompt_id, "turn": turn, "step": step}
    if not _is_count(entry.facts["row"]):
        raise ValueError("a row should be numbered")
    content.rows.setdefault(entry.facts["row"], row)  # an interrupted writer may have written it twice
