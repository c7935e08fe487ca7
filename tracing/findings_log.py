"""`findings.jsonl`: one finding per line, each line with its own checksum."""

from __future__ import annotations

import json
import re
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tracing.errors import TraceError
from tracing.files import AppendFile, read_regular
from tracing.finding import NOT_FINITE, Finding
from tracing.identity import Identity
from tracing.ipc_message import CorruptFrameError, TornFrameError

FINDINGS_NAME: Final = "findings.jsonl"
MAX_LINE_BYTES: Final = 1 << 20
ANY: Final = Identity()

_TAIL: Final = re.compile(rb',"crc32":"([0-9a-f]{8})"}\Z')
_UNBOUNDED: Final = (None, *NOT_FINITE)
"""What stands for a gap or an allowance that is no finite number."""
_NUMBERS: Final = ("prompt_id", "turn", "step")


@dataclass(frozen=True, slots=True)
class _Whole:
    """How far the file is whole: lines, bytes, checksum of all, checksum of the last line."""

    count: int = 0
    bytes: int = 0
    crc: int = 0
    last: str = ""


class FindingsWriter:
    """Appends findings; each is handed to the operating system at once.

    Args:
        folder: The run folder.
        run_id: Identity of the run; every line carries it.
        flush: Wait after each line until it is on the disk.
    """

    def __init__(self, folder: Path, run_id: str, *, flush: bool = False) -> None:
        self._run_id = run_id
        self._file = AppendFile(folder / FINDINGS_NAME, flush=flush)
        self._lock = threading.RLock()
        self._whole = _Whole()

    def add(self, finding: Finding) -> None:
        """Write one finding.

        Raises:
            TraceError: A field is no plain data, or the line is too long.
            EnvironmentProblemError: The disk refused it.
        """
        with self._lock:
            whole = self._whole
            self._file.size = whole.bytes  # an interrupt may have fallen between a line and its count
            line = encode_finding(finding, self._run_id, whole.last)
            self._file.append(line)
            self._whole = _Whole(
                whole.count + 1,
                self._file.size,
                zlib.crc32(line, whole.crc),
                _crc_of(line.rstrip(b"\n")),
            )

    def close(self) -> dict[str, Any]:
        """Close the file and return its facts for the manifest."""
        whole = self._whole
        if self._file.size != whole.bytes:
            self._file.size = whole.bytes
            self._file.cut()
        self._file.close()
        return {"num_findings": whole.count, "bytes": whole.bytes, "crc32": f"{whole.crc:08x}"}


def encode_finding(finding: Finding, run_id: str, after: str = "") -> bytes:
    """Return a finding as one line with the identity of its run and, as the last key, its checksum.

    Args:
        finding: What is written.
        run_id: Identity of the run.
        after: Checksum of the line before, empty for the first one.

    Raises:
        TraceError: A field is no plain data, or the line is too long.
    """
    try:
        data = finding.as_json() | {"run": run_id, "after": after}
        body = json.dumps(data, separators=(",", ":"), allow_nan=False).removesuffix("}").encode()
    except (TypeError, ValueError) as problem:
        raise TraceError(f"a finding should hold plain data, got {problem}") from None
    if len(body) > MAX_LINE_BYTES:
        raise TraceError(f"a finding should fit {MAX_LINE_BYTES} bytes, got {len(body)}")
    return body + f',"crc32":"{zlib.crc32(body):08x}"}}\n'.encode()


def decode_finding(line: bytes, own: Identity = ANY, after: str | None = None) -> Finding:
    """Return the finding of one line, without its line end.

    Args:
        line: The line.
        own: Whose it should be.
        after: Checksum of the line before, empty for the first one, None where that is not known; lines of
            format 1.0 name neither it nor the run.

    Raises:
        CorruptFrameError: The line is not what was written, of another run, or does not follow that line.
    """
    tail = _TAIL.search(line)
    if tail is None or tail.group(1) != f"{zlib.crc32(line[: tail.start()]):08x}".encode():
        raise CorruptFrameError("checksum of the line does not match")
    try:
        data = json.loads(line)
        if not all(_is_place(data[name]) for name in _NUMBERS):
            raise CorruptFrameError("prompt_id, turn and step should be integers")
        own.require({"run": data.get("run")})
        if after is not None and data.get("after", after) != after:
            raise CorruptFrameError("does not follow the line before it")
        if not _has_types(data):
            raise CorruptFrameError("a key of the finding is of the wrong type")
        return Finding.from_json(data)
    except (ValueError, TypeError, KeyError, RecursionError) as problem:
        raise CorruptFrameError(f"the line is no finding: {type(problem).__name__}") from None


def _crc_of(line: bytes) -> str:
    """Return the checksum at the end of a line, without its line end."""
    tail = _TAIL.search(line)
    return tail.group(1).decode() if tail else ""


def _has_types(data: Mapping[str, Any]) -> bool:
    """Whether the values are of types that a report can print; keys may be left out."""
    texts = ("verdict", "guilty", "stage", "column", "rule", "message", "severity", "path")
    values = ("fused", "reference")
    return (
        all(type(data.get(name, "")) is str for name in texts)
        and all(type(data.get(name)) in {str, type(None)} or _is_number(data[name]) for name in values)
        and all(data.get(name) in _UNBOUNDED or _is_number(data[name]) for name in ("allowance", "gap"))
        and (data.get("node") is None or _is_place(data["node"]))
        and type(data.get("consequence", False)) is bool
        and type(data.get("frames", [])) is list
        and all(type(frame) is str for frame in data.get("frames", ()))
    )


def _is_number(value: Any) -> bool:
    """Whether a value is a number, and fits 64 bits where it is whole."""
    return type(value) is float or (type(value) is int and -(2**63) <= value < 2**64)


def _is_place(value: Any) -> bool:
    """Whether a value can number a prompt, a turn, a step or a node, as the columns of a row do."""
    return type(value) is int and -(2**31) <= value < 2**31


def read_findings(data: bytes, own: Identity = ANY) -> tuple[list[Finding], TraceError | None]:
    """Return the findings up to the first line that is not whole, and what is wrong with that line."""
    found: list[Finding] = []
    *lines, rest = data.split(b"\n")
    after = ""
    for number, line in enumerate(lines, start=1):
        try:
            found.append(decode_finding(line, own, after))
            after = _crc_of(line)
        except CorruptFrameError as problem:
            return found, CorruptFrameError(f"line {number}: {problem}")
    return found, _rest_problem(rest, len(lines) + 1)


def check_findings(folder: Path, closed: Mapping[str, Any] | None, own: Identity = ANY) -> TraceError | None:
    """Prove the file line by line, and against what the manifest of a closed run lists.

    Returns:
        None for a whole file; a plain `TraceError` for one that was cut between two lines.
    """
    try:
        data = read_regular(folder / FINDINGS_NAME)
    except OSError as problem:
        missing = f"{FINDINGS_NAME} cannot be read: {problem.strerror or problem}"
        return None if closed is None else CorruptFrameError(missing)
    problem_of_line = read_findings(data, own)[1]
    if problem_of_line is not None or closed is None:
        return problem_of_line
    if (closed.get("bytes"), closed.get("crc32")) == (len(data), f"{zlib.crc32(data):08x}"):
        return None
    if isinstance(closed.get("bytes"), int) and len(data) < closed["bytes"]:
        return TraceError(f"lines are missing: {closed['bytes']} bytes were written, {len(data)} are there")
    return CorruptFrameError("is not the file that the manifest lists")


def _rest_problem(rest: bytes, number: int) -> TraceError | None:
    """Tell a line that was cut from one whose end was changed."""
    if not rest:
        return None
    if b'"crc32":"' in rest[:-1] and len(rest) > rest.rfind(b'"}') + 2 > 2:
        return CorruptFrameError(f"line {number}: its end is not what was written")
    return TornFrameError(f"ends inside line {number}")
