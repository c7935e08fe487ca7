"""`python -m attack.odd_machine FOLDER`: a campaign on a simulated cluster with one machine a little off.

Ray's own cluster utility starts several nodes on this machine. On one of them an operator multiplies what it
gives by `1 + 2**-23`, the last bit of a float32: no case notices it, and the worker there must be named.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from workbench.campaign.case import PlannedCase
from workbench.campaign.ledger import outcomes
from workbench.campaign.merged import merge
from workbench.campaign.plan import PlanRequest, make_plan, write_plan
from workbench.campaign.run import Where, run_plan
from workbench.campaign.text import lines_of
from workbench.campaign.worker import CampaignWorker, CaseRunner, WorkerJob

VARIABLE: Final = "SPECWB_ATTACK_BIASED"
"""Names the biased operator, in the environment of its node."""
MARK: Final = "biased-{}"
"""File in the campaign's folder by which a biased worker says that it is one."""
BIAS: Final = 1 + 2**-23
FACTORY: Final = "attack.odd_machine:make"


@dataclass(slots=True)
class BiasedWorker:
    """A worker with a biased operator."""

    worker: CampaignWorker
    operator: str

    def run(self, case: PlannedCase) -> dict[str, Any]:
        """Run a case."""
        from workbench.npu import dispatch

        with dispatch.wrapped(self.operator, _biased):
            return self.worker.run(case)


def make(job: WorkerJob) -> CampaignWorker:
    """Return the usual worker; where the environment says so, one with a biased operator."""
    if not os.environ.get(VARIABLE):
        return CaseRunner(job)
    (Path(job.folder) / MARK.format(job.name)).touch()
    return make_biased(job)


def make_biased(job: WorkerJob) -> CampaignWorker:
    """Return a worker with a biased operator, RMSNorm where the environment names none."""
    return BiasedWorker(CaseRunner(job), os.environ.get(VARIABLE, "npu_rms_norm"))


def _biased(operator: Callable[..., Any]) -> Callable[..., Any]:
    def run(*given: Any, **options: Any) -> Any:
        first, *rest = operator(*given, **options)
        return (first * BIAS, *rest)

    return run


def main(argv: Sequence[str]) -> int:
    """Run the campaign; 0 where the biased worker, and nobody else, is named."""
    parser = argparse.ArgumentParser(prog="python -m attack.odd_machine", description=__doc__)
    parser.add_argument("folder", type=Path, help="new or empty; it keeps the campaign")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--operator", default="npu_rms_norm")
    options = parser.parse_args(argv)
    plan = make_plan(PlanRequest(suite="code", cases=options.cases, canaries=2, max_new_tokens=8))
    write_plan(plan, options.folder)
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster()
    for number in range(options.nodes):
        variables = {VARIABLE: options.operator} if number == options.nodes - 1 else {}
        cluster.add_node(num_cpus=1, env_vars={"OMP_NUM_THREADS": "1", **variables})
    try:
        job = WorkerJob(folder=str(options.folder.resolve()), name="cluster", threads=1)
        where = Where("ray", address=cluster.address, workers=options.nodes)
        run_plan(plan, job, where, lambda _: None, FACTORY)
    finally:
        cluster.shutdown()
    merged = merge(plan, outcomes(options.folder))
    biased = {path.name.removeprefix("biased-") for path in options.folder.glob(MARK.format("*"))}
    print("\n".join(lines_of(merged)))
    print(json.dumps({"biased": sorted(biased), "named": merged.machines.odd}))
    return 0 if biased and biased == merged.machines.odd.keys() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
