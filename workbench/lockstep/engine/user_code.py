"""Calls of the code under test: whatever it raises comes back as one error, with the frames of that code.

A port may raise anything, `SystemExit` and its own `KeyboardInterrupt` included, and may change settings of
the process that the reference reads too. Neither reaches the workbench from here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final, TypeVar

from tracing.errors import ContractError, EnvironmentProblemError, LaunchRefusedError, sentence_of
from tracing.stage_validation import InvalidStageResultError
from workbench.lockstep.engine.frames import frames_of_traceback
from workbench.lockstep.engine.host_thread import HostThread, NotEndedError
from workbench.lockstep.engine.interrupts import was_interrupted
from workbench.lockstep.engine.process_settings import ProcessSettings

Result = TypeVar("Result")

OUR_OWN: Final = (LaunchRefusedError, ContractError, EnvironmentProblemError, InvalidStageResultError)
"""Errors of the workbench that it lets pass: a refusal, a contract, a full disk, a form."""
RAISED: Final = "RUN-STAGE-RAISED"
"""Rule of code under test that ended in an exception that is no finding of its own."""
TIMEOUT: Final = "RUN-STAGE-TIMEOUT"
"""Rule of code under test that did not end within `--stage-timeout`."""
MAX_SENTENCE: Final = 500


class UserCodeError(Exception):
    """Code under test raised, or did something else that ends a stage.

    Attributes:
        member: What was called: a stage, `begin`, `kv_rows`, `kv_lengths`, `snapshot`, `chooser`, or `result`
            where what a stage returned raised as it was read.
        kind: Class of the exception.
        what: What it did, as the rest of a sentence.
        frames: Places in the code under test, the innermost last, each as `file:line in function: code`.
    """

    rule = RAISED

    def __init__(
        self, member: str, kind: str, sentence: str, frames: tuple[str, ...], *, what: str = ""
    ) -> None:
        self.member = member
        self.kind = kind
        self.frames = frames
        self.what = what or (f"raised {kind}: {sentence}" if sentence else f"raised {kind}")
        super().__init__(f"{member} {self.what}")

    @classmethod
    def of(cls, member: str, error: BaseException) -> UserCodeError:
        """Return what is known of an exception, which may itself fail when it is asked."""
        sentence = " ".join(sentence_of(error).split())
        shortened = sentence[:MAX_SENTENCE] + ("…" if len(sentence) > MAX_SENTENCE else "")
        return cls(member, class_name(error), shortened, frames_of_traceback(error))


class HangsError(UserCodeError):
    """Code under test did not end within its limit."""

    rule = TIMEOUT

    def __init__(self, member: str, limit_s: float, frames: tuple[str, ...]) -> None:
        super().__init__(member, "no end", "", frames, what=f"did not end within {limit_s:g} s")


class UserCode:
    """Runs code under test in settings of its own, and turns what it raises into `UserCodeError`.

    Args:
        limit_s: Seconds that a stage or a window may take. With a limit, all code under test runs in a thread
            of its own; without one, in the thread of the caller.
    """

    def __init__(self, limit_s: float | None = None) -> None:
        self._limit_s = limit_s
        self._thread = None if limit_s is None else HostThread()
        self._settings = ProcessSettings()
        self._running = threading.local()

    def build(self, member: str, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call what comes before the first stage, such as a factory that loads weights: without a limit.

        Raises:
            UserCodeError: It raised.
        """
        return self._run(member, partial(function, *arguments), None)

    def run(self, member: str, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function of the code under test.

        Raises:
            UserCodeError: It raised, or did not end within the limit.
            KeyboardInterrupt: The user of the workbench interrupted it.
            LaunchRefusedError, ContractError, EnvironmentProblemError, InvalidStageResultError: The
                workbench's own.
        """
        return self._run(member, partial(function, *arguments), self._limit_s)

    def _run(self, member: str, call: Callable[[], Result], limit_s: float | None) -> Result:
        if getattr(self._running, "is_inside", False):  # what is read while a stage runs
            return call()
        if self._thread is not None and self._thread.is_stuck:
            raise UserCodeError(member, "nothing", "", (), what="was not called: a call before it has no end")
        try:
            if self._thread is None:
                return self._inside(call)
            result: Result = self._thread.call(partial(self._inside, call), limit_s)
        except OUR_OWN:
            raise
        except NotEndedError as hang:
            raise HangsError(member, limit_s or 0.0, hang.frames) from None
        except BaseException as error:
            if was_interrupted(error):
                raise
            raise UserCodeError.of(member, error) from error
        return result

    def _inside(self, call: Callable[[], Result]) -> Result:
        self._running.is_inside = True
        try:
            with self._settings.of_user_code():
                return call()
        finally:
            self._running.is_inside = False

    def outside(self) -> AbstractContextManager[None]:
        """Return what the workbench runs in where the code under test calls it: its own settings."""
        return self._settings.of_workbench()


def class_name(error: object) -> str:
    """Return the name of a value's class, whatever that class does with it."""
    name = type.__dict__["__name__"].__get__(type(error))
    return str(name)
