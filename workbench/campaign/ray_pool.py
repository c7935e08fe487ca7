"""Workers as Ray actors: Ray places, restarts and retries them; a worker's ledger says what is finished."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tracing.errors import EnvironmentProblemError
from workbench.campaign.case import PlannedCase
from workbench.campaign.pool import MOST_ATTEMPTS, lost_case
from workbench.campaign.worker import WorkerJob, worker_from


@dataclass(frozen=True, slots=True)
class RayPool:
    """Actors on a cluster.

    Attributes:
        job: What each is started with but for its name; its folder is one that all nodes see.
        address: Of the cluster; empty starts one of this machine's own.
        workers: How many; None takes one for each device, or for each processor where there are none.
        factory: `module:function` that makes a worker in its process.
    """

    job: WorkerJob
    address: str
    workers: int | None
    factory: str

    def run(self, cases: Sequence[PlannedCase], canaries: Sequence[PlannedCase]) -> Iterator[dict[str, Any]]:
        """Yield outcomes; see `pool.Pool`."""
        ray = _ray()
        mine = not ray.is_initialized()
        if mine:
            ray.init(address=self.address or None, log_to_driver=False, include_dashboard=False)
        try:
            yield from self._outcomes(ray, cases, canaries)
        finally:
            if mine:
                ray.shutdown()

    def _outcomes(
        self, ray: Any, cases: Sequence[PlannedCase], canaries: Sequence[PlannedCase]
    ) -> Iterator[dict[str, Any]]:
        wants, count = _resources(ray.cluster_resources(), self.workers)
        actor = ray.remote(**wants, max_restarts=-1, max_task_retries=MOST_ATTEMPTS - 1)(_Actor)
        jobs = [replace(self.job, name=f"w{number}") for number in range(count)]
        actors = [actor.remote(self.factory, job) for job in jobs]
        own = [list(canaries) for _ in actors]
        waiting = list(reversed(cases))
        pending: dict[Any, tuple[int, PlannedCase]] = {}

        def give(number: int) -> None:
            source = own[number] or waiting
            if source:
                case = source.pop()
                pending[actors[number].run.remote(case)] = (number, case)

        for number in range(count):
            give(number)
        while pending:
            done, _ = ray.wait(list(pending))
            for task in done:
                number, case = pending.pop(task)
                try:
                    yield ray.get(task)
                except ray.exceptions.RayActorError as problem:
                    if getattr(problem, "actor_init_failed", False):
                        raise EnvironmentProblemError(f"a worker cannot start: {problem}") from None
                    yield lost_case(case, jobs[number])
                except ray.exceptions.RayTaskError as problem:
                    raise problem.as_instanceof_cause() from None
                give(number)


class _Actor:
    """A worker in a process of its own; made anew when that dies."""

    def __init__(self, factory: str, job: WorkerJob) -> None:
        self._worker = worker_from(factory, job)

    def run(self, case: PlannedCase) -> dict[str, Any]:
        """Run a case."""
        return self._worker.run(case)


def _resources(cluster: dict[str, float], workers: int | None) -> tuple[dict[str, Any], int]:
    """Return what an actor takes and how many there are: a device each, or a processor."""
    if cluster.get("NPU", 0) >= 1:
        return {"resources": {"NPU": 1}}, workers or int(cluster["NPU"])
    if cluster.get("GPU", 0) >= 1:
        return {"num_gpus": 1}, workers or int(cluster["GPU"])
    return {"num_cpus": 1}, workers or max(1, int(cluster.get("CPU", 1)))


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise EnvironmentProblemError("--on ray needs Ray: pip install 'specwb[campaign]'") from None
    return ray
