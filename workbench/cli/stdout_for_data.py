"""stdout holds the command's data alone: what code under test prints goes to stderr."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

STDOUT, STDERR = 1, 2


class _Unclosable(io.TextIOBase):
    """Writes to a stream that code under test may not close for us."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        """Do nothing."""

    def isatty(self) -> bool:
        return bool(self._stream.isatty())

    def fileno(self) -> int:
        return int(self._stream.fileno())


@contextlib.contextmanager
def stdout_for_data() -> Iterator[None]:
    """Send what is printed inside to stderr, by Python or below it; give both streams back whole."""
    streams = sys.stdout, sys.stderr
    kept = [os.dup(each) for each in (STDOUT, STDERR)] if _is_process_stdout() else []
    if kept:
        sys.stdout.flush()
        os.dup2(STDERR, STDOUT)
    sys.stdout = sys.stderr = _Unclosable(sys.stderr)
    try:
        yield
    finally:
        for number, copy in zip((STDOUT, STDERR), kept, strict=False):
            os.dup2(copy, number)
            os.close(copy)
        sys.stdout, sys.stderr = (
            _reopened(stream, number) for stream, number in zip(streams, (STDOUT, STDERR), strict=True)
        )


def _is_process_stdout() -> bool:
    """Whether what Python prints goes to the process's own streams, and not to a test's or a notebook's."""
    try:
        return (sys.stdout.fileno(), sys.stderr.fileno()) == (STDOUT, STDERR)
    except (OSError, ValueError, AttributeError):
        return False


def _reopened(stream: Any, number: int) -> Any:
    """Return the stream, or another on the same file where code under test closed it."""
    if not getattr(stream, "closed", False):
        return stream
    return open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
