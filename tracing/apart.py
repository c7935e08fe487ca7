"""One piece of work at a time on a thread of its own, off the path of the host."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tracing.process import Alone, Result


class Apart:
    """Does work on a thread that lives as long as the work; an interpreter that ends waits for it."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._problem: BaseException | None = None
        self._is_busy = False
        self._has_failed = False

    @property
    def is_busy(self) -> bool:
        """Whether work is going on."""
        return self._is_busy

    def begin(self, work: Callable[[], None]) -> bool:
        """Begin work where none is going on; False where it should be done here.

        The last one has failed, or there is no thread, as the interpreter is ending.
        """
        if self._has_failed:
            return False
        self._thread = threading.Thread(target=self._do, args=(work,), name="specwb-seal")
        self._is_busy = True
        try:
            self._thread.start()
        except RuntimeError:
            self._is_busy = False
        return self._is_busy

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as problem:  # noqa: BLE001 given to the host at its next call
            self._problem, self._has_failed = problem, True
        finally:
            self._is_busy = False

    def wait(self) -> None:
        """Wait for the work that is going on."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def between(self, alone: Alone, work: Callable[[], Result]) -> Result:
        """Return what `work` returns, done alone and while nothing is going on here.

        Raises:
            InsideError: This thread is already inside; it could wait for ever.
        """
        while not (done := alone.run(lambda: () if self._is_busy else (work(),))):
            self.wait()
        return done[0]

    def instead(self, work: Callable[[], None]) -> None:
        """Do work here instead; what failed before is forgotten when this does not."""
        self._problem = None
        work()
        self._has_failed = False

    def raise_problem(self) -> None:
        """Raise what the last work raised, once."""
        problem = self._problem
        if problem is not None:  # set by the thread once, so that nothing is overwritten here
            self._problem = None
            raise problem
