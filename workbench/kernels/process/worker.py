"""The workbench's side of a candidate's process: one request at a time, each with a limit."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

ROOM: Final = 1 << 20
"""Longest answer, bytes."""


class GoneError(Exception):
    """The process ended or was ended while it did something.

    Attributes:
        rule: `KERNEL-HANGS`, `KERNEL-CRASHED` or `KERNEL-ANSWER`.
    """

    def __init__(self, rule: str, sentence: str) -> None:
        super().__init__(sentence)
        self.rule = rule


class Worker:
    """A process of a candidate; a context manager that ends it.

    Args:
        environment: Variables beside this process's own.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        read, write = os.pipe()
        self._answers = read
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the worker
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "workbench.kernels.process.child", str(write)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                pass_fds=(write,),
                start_new_session=True,
                env=self._environment(environment or {}),
            )
        finally:
            os.close(write)

    @staticmethod
    def _environment(more: Mapping[str, str]) -> dict[str, str]:
        """Modules of ours come from where this process has them, also in an uninstalled checkout."""
        paths = os.pathsep.join(path for path in sys.path if path)
        return {**os.environ, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1", **more}

    def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            GoneError: None came in time, or the process ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._gone() from None
        try:
            answer: dict[str, Any] = {**json.loads(self._line(seconds))}
        except (ValueError, TypeError):
            self.end()
            raise GoneError("KERNEL-ANSWER", "it wrote to the workbench's own channel") from None
        return answer

    def _line(self, seconds: float) -> bytes:
        end, line = time.monotonic() + seconds, b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self._answers], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                self.end()
                raise GoneError("KERNEL-HANGS", f"did not end within {seconds:g} s")
            part = os.read(self._answers, 1 << 16)
            if not part or len(line) > ROOM:
                raise self._gone()
            line += part
        return line

    def _gone(self) -> GoneError:
        self.end()
        code = self._process.returncode
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - 2000))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return GoneError(
            "KERNEL-CRASHED", f"ended its process with {how}" + (f": {lines[-1][:300]}" if lines else "")
        )

    def end(self) -> None:
        """End the process and all that it started."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(0.2)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        os.close(self._answers)
        self._errors.close()
