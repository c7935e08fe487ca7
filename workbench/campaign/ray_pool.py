"""Workers as Ray actors: Ray places, restarts and retries them; a worker's ledger says what is finished."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from tracing.errors import EnvironmentProblemError
from workbench.campaign.case import PlannedCase, needs_of
from workbench.campaign.pool import MOST_ATTEMPTS, lost_case
from workbench.campaign.worker import WorkerJob, worker_from

DEVICES: Final = {"npu": "NPU", "cuda": "GPU", "cpu": "CPU"}
"""Device of a plan to the resource of a cluster; `auto` takes what is there."""


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
        wants, count = _resources(ray.cluster_resources(), self.workers, needs_of([*cases, *canaries]))
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


def _resources(
    cluster: Mapping[str, float], workers: int | None, needs: Mapping[str, Any]
) -> tuple[dict[str, Any], int]:
    """Return what an actor takes and how many there are: a device each, or a processor.

    Raises:
        EnvironmentProblemError: The cluster has no such device, or not so much memory.
    """
    device = needs.get("device", "auto")
    name = DEVICES.get(device) or next((each for each in ("NPU", "GPU") if cluster.get(each, 0) >= 1), "CPU")
    there = cluster.get(name, 0)
    if there < 1:
        raise EnvironmentProblemError(
            f"the plan needs {name} and the cluster has none; start its nodes with ray start, and for an NPU "
            """--resources '{"NPU": 8}'"""
        )
    wants: dict[str, Any] = {"CPU": {"num_cpus": 1}, "GPU": {"num_gpus": 1}}.get(
        name, {"resources": {name: 1}}
    )
    count = workers or int(there)
    if memory := int(needs.get("memory_mb") or 0) << 20:
        most = int(cluster.get("memory", 0) // memory)
        if most < 1:
            there_mb = int(cluster.get("memory", 0)) >> 20
            raise EnvironmentProblemError(f"a worker needs {memory >> 20} MB, the cluster has {there_mb} MB")
        wants, count = {**wants, "memory": memory}, min(count, most)
    return wants, count


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise EnvironmentProblemError("--on ray needs Ray: pip install 'specwb[campaign]'") from None
    return ray
