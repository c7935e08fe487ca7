"""Workers as processes of this machine: each takes a case at a time; one that dies is replaced."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Final, Protocol

from tracing.errors import EnvironmentProblemError, SpecwbError
from workbench.campaign.case import PlannedCase, needs_of
from workbench.campaign.told import deaths_of, label_of, runs_of
from workbench.campaign.worker import WorkerJob, worker_from

MOST_ATTEMPTS: Final = 2
"""A case whose worker died is tried once more."""
GRACE_S: Final = 5.0
"""Seconds that a process is given to end by itself."""


class Pool(Protocol):
    """Runs cases on workers; see `LocalPool` and `ray_pool.RayPool`."""

    def run(self, cases: Sequence[PlannedCase], canaries: Sequence[PlannedCase]) -> Iterator[dict[str, Any]]:
        """Yield the outcome of each case as it is finished, and of each canary once a worker."""
        ...


@dataclass(slots=True)
class _Slot:
    """A place for a worker: its process, and what it has in hand."""

    job: WorkerJob
    process: BaseProcess
    connection: Connection
    canaries: list[PlannedCase]
    case: PlannedCase | None = None


@dataclass(frozen=True, slots=True)
class LocalPool:
    """Processes of this machine.

    Attributes:
        job: What each is started with but for its name.
        factory: `module:function` that makes a worker in its process.
    """

    job: WorkerJob
    workers: int
    factory: str
    attempts: Counter[str] = field(default_factory=Counter)

    def run(self, cases: Sequence[PlannedCase], canaries: Sequence[PlannedCase]) -> Iterator[dict[str, Any]]:
        """Yield outcomes; see `Pool`."""
        _require_memory(needs_of([*cases, *canaries])["memory_mb"], self.workers)
        waiting = list(reversed(cases))
        self.attempts.clear()
        slots = [self._started(f"w{number}", list(canaries)) for number in range(self.workers)]
        try:
            for slot in slots:
                _give(slot, waiting)
            while any(slot.case for slot in slots):
                for slot in _ready(slots):
                    case = slot.case
                    assert case is not None
                    try:
                        yield told_or_raised(slot.connection.recv())
                    except (EOFError, ConnectionResetError):
                        yield from self._replaced(slot, case, waiting)
                    _give(slot, waiting)
        finally:
            for slot in slots:
                slot.connection.close()
                ended(slot.process)

    def _started(self, name: str, canaries: list[PlannedCase]) -> _Slot:
        job = replace(self.job, name=name)
        return _Slot(job, *spawned(_serve, self.factory, job), canaries)

    def _replaced(
        self, slot: _Slot, case: PlannedCase, waiting: list[PlannedCase]
    ) -> Iterator[dict[str, Any]]:
        """Start another process in the place of one that died; its case runs again, or is lost."""
        slot.connection.close()
        ended(slot.process)
        fresh = self._started(slot.job.name, slot.canaries)
        slot.process, slot.connection = fresh.process, fresh.connection
        label = label_of(case, slot.job.name)
        self.attempts[label] += 1
        if self.attempts[label] < MOST_ATTEMPTS:
            (slot.canaries if case.canary else waiting).append(case)
        else:
            yield lost_case(case, slot.job)


def _require_memory(memory_mb: int, workers: int) -> None:
    """Refuse to start workers that this machine cannot hold.

    Raises:
        EnvironmentProblemError: They need more than there is.
    """
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    if memory_mb * workers > there:
        raise EnvironmentProblemError(
            f"{workers} workers of {memory_mb} MB need more than the {there} MB of this machine; "
            f"it can hold {there // memory_mb}"
        )


def lost_case(case: PlannedCase, job: WorkerJob) -> dict[str, Any]:
    """Return the outcome of a case whose worker died each time, with what its journals tell."""
    return case.outcome_by(job.name) | {
        "deaths": deaths_of(runs_of(job.folder), label_of(case, job.name)),
        "verdict": "lost",
        "exit_code": 3,
        "problem": "its worker died each time",
    }


def _give(slot: _Slot, waiting: list[PlannedCase]) -> None:
    """Hand the next case to a worker: its canaries first, then whatever waits."""
    source = slot.canaries or waiting
    slot.case = source.pop() if source else None
    if slot.case is not None:
        with contextlib.suppress(
            BrokenPipeError, ConnectionResetError
        ):  # it died: read as the end of its pipe
            slot.connection.send(slot.case)


def _ready(slots: Sequence[_Slot]) -> list[_Slot]:
    busy = {slot.connection: slot for slot in slots if slot.case is not None}
    ready = wait(list(busy))
    return [slot for connection, slot in busy.items() if connection in ready]


def spawned(serve: Callable[..., None], *given: Any) -> tuple[BaseProcess, Connection]:
    """Start `serve(connection, *given)` in a process of its own; return it and our end of its pipe."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, *given), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def ended(process: BaseProcess) -> None:
    """Wait for the end of a process whose pipe is closed; kill one that takes longer."""
    process.join(timeout=GRACE_S)
    if process.is_alive():
        process.kill()
        process.join()


def told_or_raised(message: dict[str, Any] | Exception) -> dict[str, Any]:
    """Return an outcome; what kept a worker from starting is raised here.

    Raises:
        SpecwbError: No case can run: the models, the device or the disk.
    """
    if isinstance(message, Exception):
        raise message
    return message


def _serve(connection: Connection, factory: str, job: WorkerJob) -> None:
    """Run cases until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver is interrupted, and ends its workers
    try:
        worker = worker_from(factory, job)
    except SpecwbError as problem:
        connection.send(problem)
        return
    while True:
        try:
            case: PlannedCase = connection.recv()
        except EOFError:
            return
        connection.send(worker.run(case))
