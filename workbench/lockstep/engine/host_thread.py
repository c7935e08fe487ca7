"""A thread that all code under test runs in, so that the workbench can go on where a call does not end."""

from __future__ import annotations

import contextvars
import faulthandler
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

from workbench.lockstep.engine.frames import frames_of_stack

GRACE_S: Final = 5.0
"""Seconds beyond its limit after which the process ends by force: the call lets no other thread run."""


class NotEndedError(Exception):
    """A call did not end within its limit, and runs on.

    Attributes:
        frames: Where in the code under test it was.
    """

    def __init__(self, frames: tuple[str, ...]) -> None:
        super().__init__("the call did not end")
        self.frames = frames


class HostThread:
    """One thread for all calls, because much state of torch belongs to a thread.

    Attributes:
        is_stuck: Whether a call in it never ended; then it takes no other.
    """

    def __init__(self) -> None:
        self.is_stuck = False
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def is_here(self) -> bool:
        """Whether the caller runs in this thread already."""
        return threading.current_thread() is self._thread

    def call(self, function: Callable[[], Any], limit_s: float | None) -> Any:
        """Run a function in the thread and wait for its end.

        Args:
            function: What to run.
            limit_s: Seconds that it may take; None waits for ever.

        Raises:
            NotEndedError: It takes longer.
            BaseException: What it raised.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="code-under-test", daemon=True)
            self._thread.start()
        call = _Call(function)
        self._calls.put(call)
        with _ended_by_force(limit_s):
            ended = call.ended.wait(limit_s)
        if not ended:
            self.is_stuck = True
            raise NotEndedError(frames_of_stack(sys._current_frames().get(self._thread.ident or 0)))  # noqa: SLF001  the only way to another thread's frames
        if call.error is not None:
            raise call.error
        return call.result

    def _serve(self) -> None:
        while True:
            self._calls.get().run()


class _Call:
    """A function to run, and what came of it."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._context = contextvars.copy_context()
        self.ended = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self._context.run(self._function)
        except BaseException as error:  # noqa: BLE001  it is raised in the thread that waits
            self.error = error
        finally:
            self.ended.set()


class _ended_by_force:  # noqa: N801  a context manager, used as a function
    """Ends the process with exit code 1 and its threads' frames, should nothing else in it get to run."""

    def __init__(self, limit_s: float | None) -> None:
        self._limit_s = limit_s
        self._stderr = sys.__stderr__

    def __enter__(self) -> None:
        if self._limit_s is not None and self._stderr is not None:
            faulthandler.dump_traceback_later(self._limit_s + GRACE_S, exit=True, file=self._stderr)

    def __exit__(self, *_: object) -> None:
        if self._limit_s is not None and self._stderr is not None:
            faulthandler.cancel_dump_traceback_later()
