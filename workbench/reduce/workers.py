"""Runners in processes of their own: a path under test that kills its process costs one case."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType

from tracing.errors import SpecwbError
from workbench.campaign.pool import GRACE_S, ended, spawned
from workbench.reduce.outcome import CaseOutcome, CaseTrial
from workbench.reduce.source import RunSource

Serve = Callable[[Connection, RunSource], None]
DIED = "the process of the path under test died"


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    connection: Connection
    key: str | None = None


class Workers:
    """Processes that have loaded the models; started when they are needed."""

    def __init__(self, source: RunSource, count: int, serve: Serve | None = None) -> None:
        """Start none yet.

        Args:
            source: What each loads.
            count: How many.
            serve: What a process runs, with the other end of a pipe and the source; importable by name.
        """
        self.capacity = count
        self._source, self._serve = source, serve or serve_trials
        self._workers: list[_Worker] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.connection.close()
            if worker.key is not None:
                worker.process.kill()
            ended(worker.process)

    def submit(self, key: str, trial: CaseTrial) -> None:
        """Hand a trial to a worker that has none."""
        worker = next((each for each in self._workers if each.key is None), None)
        if worker is None:
            worker = _Worker(*spawned(self._serve, self._source))
            self._workers.append(worker)
        worker.key = key
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # read as the end of its pipe
            worker.connection.send(trial)

    def wait(self, seconds: float | None) -> list[tuple[str, CaseOutcome]]:
        """Return what has ended; a worker that died has ended with that.

        Raises:
            SpecwbError: No worker can start: the models, the device or the disk.
        """
        busy = {each.connection: each for each in self._workers if each.key is not None}
        ended: list[tuple[str, CaseOutcome]] = []
        for ready in wait(list(busy), seconds):
            worker = busy[ready]  # type: ignore[index]  # only connections were waited for
            key, worker.key = worker.key, None
            assert key is not None
            try:
                told: CaseOutcome | SpecwbError = worker.connection.recv()
            except (EOFError, ConnectionResetError):
                self._workers.remove(worker)
                worker.process.join(GRACE_S)
                told = CaseOutcome(problem=f"{DIED} (exit code {worker.process.exitcode})")
            if isinstance(told, SpecwbError):
                raise told
            ended.append((key, told))
        return ended


def serve_trials(connection: Connection, source: RunSource) -> None:
    """Run trials until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver is interrupted, and ends its workers
    from workbench.npu.bootstrap import bootstrap

    try:
        bootstrap("auto")
        import torch

        from workbench.reduce.source import opened
        from workbench.reduce.trial import run_trial

        torch.set_num_threads(1)  # as many processes as there are cores
        models = opened(source)
    except SpecwbError as problem:
        connection.send(problem)
        return
    while True:
        try:
            trial: CaseTrial = connection.recv()
        except EOFError:
            return
        connection.send(run_trial(models, trial))
