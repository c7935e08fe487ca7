"""A thread that reads, so that the screen never does; of several jobs of a kind only the last is run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

STOP_WAIT: Final = 2.0
"""Seconds to wait for the running job when the screen closes."""

Job = Callable[[], None]


class Reader:
    """Runs jobs one after another in a daemon thread.

    Args:
        failed: Called with an exception that a job raises, in the thread.
    """

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self._pending: dict[str, Job] = {}
        self._wake = threading.Condition()
        self._busy = False
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="specwb-view-reader", daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits."""
        with self._wake:
            return not self._busy and not self._pending

    def submit(self, kind: str, job: Job) -> None:
        """Run a job soon; a waiting job of the same kind is dropped."""
        with self._wake:
            self._pending.pop(kind, None)
            self._pending[kind] = job
            self._wake.notify()

    def wanted(self, kind: str) -> bool:
        """Return whether a job of this kind should continue: no newer one waits, and the screen is open."""
        with self._wake:
            return kind not in self._pending and not self._stopped

    def stop(self) -> None:
        """End the thread after the running job."""
        with self._wake:
            self._stopped = True
            self._pending.clear()
            self._wake.notify()
        self._thread.join(STOP_WAIT)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._busy = False
                self._wake.wait_for(lambda: self._stopped or bool(self._pending))
                if self._stopped:
                    return
                job = self._pending.pop(next(iter(self._pending)))
                self._busy = True
            try:
                job()
            except Exception as problem:  # noqa: BLE001  passed to the screen, which shows it to the user
                self._failed(problem)
