"""Ctrl-C told apart from a `KeyboardInterrupt` that the code under test raises itself."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

_SEEN: Final = threading.Event()
_WATCHED: Final = threading.Event()


@contextmanager
def interrupts_watched() -> Iterator[None]:
    """Remember, inside, whether the process was sent SIGINT; its handler does what it did before.

    The handler that was there comes back at the end, whatever the code under test has set. Only the main
    thread has handlers; elsewhere this does nothing, and no interrupt arrives there either.
    """
    before = signal.getsignal(signal.SIGINT)
    here = threading.current_thread() is threading.main_thread()
    if not here or not (callable(before) or before is signal.SIG_IGN):
        yield
        return

    def handler(number: int, frame: FrameType | None) -> Any:
        _SEEN.set()
        return before(number, frame) if callable(before) else None

    _SEEN.clear()
    _WATCHED.set()
    if callable(before):  # ignored, as in the background of a script, it stays ignored
        signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        _WATCHED.clear()


def was_interrupted(error: BaseException) -> bool:
    """Return whether an exception is the interrupt of the workbench's user; unwatched, each one is."""
    if not issubclass(type(error), KeyboardInterrupt):
        return False
    return _SEEN.is_set() or not _WATCHED.is_set()
