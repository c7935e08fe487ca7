"""Which process a run belongs to: a forked child records nothing in it and holds none of its files."""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import threading
import weakref
from collections.abc import Callable
from typing import Protocol, TypeVar

from tracing.errors import TraceError

Result = TypeVar("Result")

_log = logging.getLogger("specwb.trace")


class Owned(Protocol):
    """Something that only the process that opened it may use."""

    def let_go(self) -> None:
        """Close what a forked child inherited, without a trace on the disk."""


_OWNED: weakref.WeakSet[Owned] = weakref.WeakSet()


def owned_here(thing: Owned) -> None:
    """Let a forked child close what it inherits: it would keep files, and the lock on the folder, alive."""
    _OWNED.add(thing)


def _let_go() -> None:
    with contextlib.suppress(Exception):  # nothing may be raised into a host's fork
        for thing in list(_OWNED):
            thing.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


class Process:
    """The process that opened a run."""

    _told = 0
    """Process that has been told; one warning does for all runs."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def is_this(self) -> bool:
        """Return False in a forked child, which is told once that nothing of it is recorded."""
        if os.getpid() == self._pid:
            return True
        if Process._told != os.getpid():
            Process._told = os.getpid()
            _log.warning(
                "process %d was forked from the one that records (%d): nothing of it is recorded; "
                "open a trace of its own in it",
                os.getpid(),
                self._pid,
            )
        return False


class InsideError(TraceError):
    """A call from a signal handler, a finaliser or a callback came in the middle of another one."""


class Alone:
    """Lets one call at a time in: other threads wait, a call from inside another one is refused.

    Such a call comes from a signal handler, a finaliser or a callback of the host in the middle of a write.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._inside: object = None

    def run(self, work: Callable[[], Result]) -> Result:
        """Return what `work` returns.

        Raises:
            InsideError: This thread is already inside.
        """
        with self._lock:
            if self._inside is not None and _is_running(self._inside):
                raise InsideError("a call from a signal handler or a finaliser came in the middle of a write")
            token = object()
            try:
                self._inside = token
                return work()
            finally:
                self._inside = None


def _is_running(token: object) -> bool:
    """Return whether the call of a token is still running; an interrupt may have ended it without a word."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is Alone.run.__code__ and frame.f_locals.get("token") is token:
            return True
        frame = frame.f_back
    return False
