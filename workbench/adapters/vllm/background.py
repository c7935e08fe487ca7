"""One thread of each process that encodes and writes, so that the engine's own thread need not."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Final

from workbench.adapters.vllm.patches import quietly

MAX_WAITING: Final = 16
"""Records that wait at most; where there are more the engine waits for them, so that memory stays bounded."""
TICK: Final = 0.2
"""Seconds without work after which the thread looks around."""
PATIENCE: Final = 60.0
"""Seconds after which the thread is given up."""


class Background:
    """Does work in the order in which it comes; starts with the first one, again in a forked process."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._process, self._thread = os.getpid(), threading.Thread()
        self._queue: SimpleQueue[Callable[[], Any]] = SimpleQueue()

    def submit(self, work: Callable[[], Any]) -> None:
        """Do `work` later; what it raises is logged."""
        if self._process != os.getpid():
            self._forget()
        self._queue.put(work)
        if not self._thread.is_alive():
            self._thread = threading.Thread(target=_work_on, args=(self._queue,), name="specwb", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is ending
                self.drain()
        if self._queue.qsize() > MAX_WAITING:
            self.drain()

    def drain(self) -> None:
        """Wait until all that was submitted before is done; the thread itself does it here and now."""
        if self._process != os.getpid():
            return
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            done = threading.Event()
            self._queue.put(done.set)
            done.wait(PATIENCE)
            return
        try:
            while True:
                quietly(self._queue.get_nowait())
        except Empty:
            return


IDLE: Final[list[Callable[[], Any]]] = []
"""What the thread does again and again while there is nothing else."""


def _work_on(queue: SimpleQueue[Callable[[], Any]]) -> None:
    while True:
        try:
            work = queue.get(timeout=TICK)
        except Empty:
            for each in tuple(IDLE):
                quietly(each)
        else:
            quietly(work)


BACKGROUND: Final = Background()
"""That of this process."""
