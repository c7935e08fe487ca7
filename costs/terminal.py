"""A terminal of our own with a program in it: sends keys and says when the screen came to rest."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tracing.errors import EnvironmentProblemError

QUIET: Final = 0.3
"""Seconds without output after which the screen is at rest."""

PATIENCE: Final = 60.0
_KEPT: Final = 1 << 16


class Terminal:
    """A program in a pseudo-terminal.

    Args:
        command: The program and its arguments.
        size: Columns and lines.

    Raises:
        EnvironmentProblemError: The system has no pseudo-terminal to give, or no such program.
    """

    def __init__(self, command: Sequence[str], size: tuple[int, int]) -> None:
        try:
            self._ours, theirs = pty.openpty()
            columns, lines = size
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
            self._process = subprocess.Popen(
                command,
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                env=_environment(os.environ),
                start_new_session=True,
            )
            os.close(theirs)
        except OSError as problem:
            raise EnvironmentProblemError(f"no terminal to measure in: {problem}") from None
        self._seen = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the program, whatever it does."""
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def send(self, keys: bytes) -> float | None:
        """Type something and wait for rest; see `until_rest`."""
        self._seen = b""
        os.write(self._ours, keys)
        return self.until_rest()

    def until(self, needle: bytes) -> float:
        """Wait for a text that came since the last keys, or behind the last text; return the seconds it took.

        Raises:
            EnvironmentProblemError: The program ended, or does not say it.
        """
        begun = time.perf_counter()
        while needle not in self._seen:
            if time.perf_counter() - begun > PATIENCE or self._read(PATIENCE) is None:
                raise EnvironmentProblemError(f"the screen never showed {needle.decode(errors='replace')!r}")
        self._seen = self._seen.partition(needle)[2]
        return time.perf_counter() - begun

    def until_rest(self) -> float | None:
        """Return the seconds from now to the last output before the screen rests; None without output."""
        begun = time.perf_counter()
        last = None
        while time.perf_counter() - begun < PATIENCE and (came := self._read(QUIET)) is not None:
            last = came
        return None if last is None else last - begun

    def peak_memory(self) -> int | None:
        """Return the program's peak resident bytes, None where the system does not tell (no procfs)."""
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        except OSError:
            return None
        sizes = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(sizes[0]) * 1024 if sizes else None

    def processor(self) -> float | None:
        """Return the processor seconds that the program has used, None where the system does not tell."""
        try:
            stat = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def _read(self, seconds: float) -> float | None:
        """Take in some output and return when it came; None where there is none."""
        ready, _, _ = select.select([self._ours], [], [], seconds)
        if not ready:
            return None
        try:
            fresh = os.read(self._ours, _KEPT)
        except OSError:  # the program has ended
            return None
        self._seen = (self._seen + fresh)[-_KEPT:]
        return time.perf_counter() if fresh else None


def _environment(known: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a common terminal that says nothing else of its size or colours."""
    spoken = {"COLUMNS", "LINES", "NO_COLOR"}
    return {name: value for name, value in known.items() if name not in spoken} | {
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
    }
