"""Recorders under attack: threads, forks, a disk that refuses, in a process that may be killed."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from attack.history import ACK, FINDING, STEP, content, digest
from tracing import files
from tracing.errors import EnvironmentProblemError
from tracing.finding import Finding
from tracing.moment import Moment
from tracing.recorder import RunWriter, Trace

PATHS: Final = ("fused", "reference")
ERRORS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


@dataclass(frozen=True, slots=True)
class Plan:
    """How one recorder goes about it.

    Attributes:
        steps: Steps of each thread.
        threads: How many record at once, each requests of its own.
        paths: How many paths they share.
        seal_every: Steps between seals beside the regular ones; 0 for none.
        fork_every: Steps between forks of a child that leaves as it can; 0 for none.
        refuse: Share of time in which the disk refuses to write.
        on_error: Of the recorder.
        durability: Of the run.
        seed: Of every choice.
    """

    steps: int
    threads: int = 1
    paths: int = 1
    seal_every: int = 0
    fork_every: int = 0
    refuse: float = 0.0
    on_error: Any = "raise"
    durability: Any = "process"
    seed: int = 0


class Disk:
    """`os` whose writes fail now and then for a while, as on a full disk."""

    def __init__(self, refuse: float, seed: int) -> None:
        self._refuse = refuse
        self._random = random.Random(seed)
        self._left = 0
        self._error = 0

    def pwrite(self, handle: int, data: Any, offset: int) -> int:
        """Write, or fail after some of the bytes."""
        if self._left <= 0:
            is_refused = self._error == 0 and self._random.random() < self._refuse
            self._error = self._random.choice(ERRORS) if is_refused else 0
            self._left = self._random.randrange(1, 400 if is_refused else 40)
        self._left -= 1
        if self._error:
            os.pwrite(handle, memoryview(data)[: len(data) // 3], offset)
            raise OSError(self._error, os.strerror(self._error))
        return os.pwrite(handle, data, offset)

    def give_room(self) -> None:
        """Refuse nothing any more."""
        self._refuse, self._left, self._error = 0.0, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def record(folder: Path, plan: Plan, tell: Callable[[bytes], object]) -> int:
    """Record as planned, tell of all that is acknowledged; return how many steps are declared lost."""
    disk = Disk(plan.refuse, plan.seed)
    with RunWriter(folder, token_bytes=lambda token_id: b"%d" % token_id, durability=plan.durability) as run:
        traces = [run.path(name, level="basic", on_error=plan.on_error) for name in PATHS[: plan.paths]]
        if plan.refuse:
            vars(files)["os"] = disk  # the one door to the disk
        try:
            threads = [
                threading.Thread(target=_thread, args=(run, traces[number % plan.paths], number, plan, tell))
                for number in range(1, plan.threads)
            ]
            for thread in threads:
                thread.start()
            _thread(run, traces[0], 0, plan, tell)
            for thread in threads:
                thread.join()
        finally:
            disk.give_room()
            vars(files)["os"] = os
        return sum(trace.num_lost for trace in traces)


def _thread(run: RunWriter, trace: Trace, number: int, plan: Plan, tell: Callable[[bytes], object]) -> None:
    chance = random.Random(plan.seed)
    for step in range(plan.steps):
        if number == 0 and plan.fork_every and step % plan.fork_every == plan.fork_every - 1:
            _fork(run, trace, chance)
        tokens, final = content(number, step)
        lost = trace.num_lost
        with contextlib.suppress(EnvironmentProblemError):
            with trace.step(prompt_id=number, step=step) as recorded:
                recorded.record(token_ids=tokens, parents=[0] * len(tokens))
                with contextlib.suppress(EnvironmentProblemError):
                    recorded.about_to_run("verify", committed_len=step)
                recorded.record(final_token_id=final)
            if plan.on_error == "raise" or trace.num_lost == lost:
                tell(ACK.pack(STEP, number, step, digest(tokens, final)))
        if plan.seal_every and step % plan.seal_every == 0:
            with contextlib.suppress(EnvironmentProblemError):
                trace.seal()
        if number == 0 and step % 7 == 0:
            with contextlib.suppress(EnvironmentProblemError):
                run.add_finding(Finding("ok", "unknown", Moment(0, 0, step, "verify"), ""))
                tell(ACK.pack(FINDING, 0, step, 0))


def _fork(run: RunWriter, trace: Trace, chance: random.Random) -> None:
    """Fork a child that leaves in one of many ways; it may take nothing from its parent."""
    way = chance.randrange(5)
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        if way == 0:
            run.close()
        elif way == 1:
            run.__exit__(ValueError, ValueError("left by an exception"), None)
        elif way == 2:
            for step in range(100_000, 100_080):
                with trace.step(step=step) as recorded:
                    recorded.record(token_ids=[1], parents=[0])
            trace.seal()
        elif way == 3:
            del run, trace
            gc.collect()
        else:
            sys.exit(0)
    except SystemExit:
        pass
    finally:
        os._exit(0)


def recorded_by_child(folder: Path, plan: Plan, kill_after: int, delay: float) -> tuple[bytes, bool]:
    """Record in a forked child, kill it after so many acknowledgements, and return all of them.

    Args:
        folder: Of the run.
        plan: How.
        kill_after: Acknowledgements; -1 to let it end.
        delay: Seconds between the last of them and the kill.

    Returns:
        What it acknowledged, as this process wrote it down, and whether it was killed.
    """
    hear, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(hear)
        code = 1
        try:
            record(folder, plan, lambda ack: os.write(tell, ack))
            code = 0
        finally:
            os._exit(code)
    os.close(tell)
    said = b""
    while (kill_after < 0 or len(said) < kill_after * ACK.size) and (more := os.read(hear, 1 << 16)):
        said += more
    if kill_after >= 0:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    while more := os.read(hear, 1 << 16):
        said += more
    os.close(hear)
    status = os.waitpid(child, 0)[1]
    folder.with_suffix(".acks").write_bytes(said)
    return said, status != 0
