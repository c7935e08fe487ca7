"""Run a plan: what its folder does not hold yet goes to a pool of workers, or to this one shard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tracing.errors import UsageError
from workbench.campaign.case import PlannedCase
from workbench.campaign.ledger import Ledger, finished
from workbench.campaign.plan import Plan
from workbench.campaign.pool import LocalPool, Pool
from workbench.campaign.worker import OURS, WorkerJob, worker_from

LOCAL: Final = "local"
RAY: Final = "ray"
SHARD: Final = "shard"


@dataclass(frozen=True, slots=True)
class Where:
    """Where cases run.

    Attributes:
        kind: `local`, `ray` or `shard`.
        address: Of a Ray cluster; empty for one of this machine's own.
        index, of: Which shard, of how many.
        workers: Processes or actors; None for what the machine or the cluster suggests.
    """

    kind: str
    address: str = ""
    index: int = 0
    of: int = 1
    workers: int | None = None


def parse_where(text: str, workers: int | None) -> Where:
    """Read `local`, `ray`, `ray=ADDRESS` or `shard I/N`, counted from 0.

    Raises:
        UsageError: Something else.
    """
    kind, _, rest = text.replace(" ", "=", 1).partition("=")
    if kind == LOCAL and not rest:
        return Where(LOCAL, workers=workers)
    if kind == RAY:
        return Where(RAY, address=rest, workers=workers)
    index, slash, of = rest.partition("/")
    if kind == SHARD and slash and index.isdecimal() and of.isdecimal() and int(index) < int(of):
        return Where(SHARD, index=int(index), of=int(of))
    raise UsageError(f"--on should be local, ray, ray=ADDRESS or shard=I/N with I below N, got {text!r}")


def run_plan(
    plan: Plan, job: WorkerJob, where: Where, tell: Callable[[dict[str, Any]], object], factory: str = OURS
) -> int:
    """Run every case that is not finished; return how many were.

    Args:
        plan: The cases.
        job: What workers are started with; its folder holds the results.
        where: Where they run.
        tell: Called with each outcome.
        factory: `module:function` that makes a worker.

    Raises:
        SpecwbError: No case can run at all.
    """
    folder = Path(job.folder)
    done = finished(folder)
    left = [case for case in plan.cases if case.number not in done]
    if where.kind == SHARD:
        mine = [case for case in plan.cases if case.number % where.of == where.index and not case.canary]
        return _run_here([*plan.canaries, *(case for case in mine if case in left)], job, tell, factory)
    if not left:
        return 0
    cases = [case for case in left if not case.canary]
    driver = Ledger(folder, "driver")
    count = 0
    for outcome in _pool(job, where, factory).run(cases, plan.canaries):
        if outcome["verdict"] == "lost":
            driver.add(outcome)
        tell(outcome)
        count += 1
    return count


def _run_here(
    cases: Sequence[PlannedCase], job: WorkerJob, tell: Callable[[dict[str, Any]], object], factory: str
) -> int:
    """Run cases in this process, one after the other."""
    worker = worker_from(factory, job)
    for case in cases:
        tell(worker.run(case))
    return len(cases)


def _pool(job: WorkerJob, where: Where, factory: str) -> Pool:
    if where.kind == RAY:
        from workbench.campaign.ray_pool import RayPool

        return RayPool(job, where.address, where.workers, factory)
    return LocalPool(job, where.workers or 1, factory)
