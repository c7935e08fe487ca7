"""A `KeyboardInterrupt` of the code under test is not the user's."""

from __future__ import annotations

import os
import signal

from workbench.lockstep.engine.interrupts import interrupts_watched, was_interrupted


def test_where_interrupts_are_ignored_none_is_the_users() -> None:
    """As in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_watched():
            os.kill(os.getpid(), signal.SIGINT)
            assert not was_interrupted(KeyboardInterrupt())
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_is_the_users() -> None:
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        with interrupts_watched():
            assert not was_interrupted(KeyboardInterrupt())
            os.kill(os.getpid(), signal.SIGINT)
            assert was_interrupted(KeyboardInterrupt())
    finally:
        signal.signal(signal.SIGINT, before)
