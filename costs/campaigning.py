"""What a campaign costs over a plain loop that judges the same cases in one process with the same models."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from costs.row import Cost, Goal, Row
from costs.timing import middle
from costs.workshop import Workshop

if TYPE_CHECKING:
    from workbench.campaign.case import PlannedCase
    from workbench.checkpoints.load import LoadedPair

CASES: Final = 16
WARM: Final = 2
TOKENS: Final = 8
THREADS: Final = 1
NAME: Final = "campaign.overhead"
GOALS: Final[dict[str, Goal | None]] = {NAME: Goal(1.05)}


def _measure(workshop: Workshop) -> Iterator[Row]:
    from workbench.campaign.plan import PlanRequest, make_plan
    from workbench.campaign.worker import CaseRunner, WorkerJob
    from workbench.checkpoints.load import load_pair
    from workbench.lockstep.session.request import pair_directories
    from workbench.npu.bootstrap import bootstrap

    workshop.say("judging cases, by a worker and in a plain loop")
    cases = make_plan(PlanRequest(suite="code", cases=CASES, canaries=0)).cases
    campaign, plain = workshop.folder / "campaign", workshop.folder / "plain"
    backend = bootstrap("auto").as_json()
    worker = CaseRunner(
        WorkerJob(folder=str(campaign), name="w0", max_new_tokens=TOKENS, keep_every=0, threads=THREADS)
    )
    loaded = load_pair(*pair_directories(None, None, "eagle3"))
    ratios, more = [], []
    for number, case in enumerate(cases):
        begun = time.process_time()
        worker.run(case)
        between = time.process_time()
        _judge(loaded, case, plain / str(number), backend)
        own, other = between - begun, time.process_time() - between
        if number >= WARM:
            ratios.append(own / other)
            more.append(own - other)
    value, spread = middle(ratios)
    how = (
        f"processor time of a worker's case over `run_session` of the same, {CASES - WARM} cases of {TOKENS} "
        f"tokens in pairs; {middle(more)[0] * 1e3:.1f} ms a case: facts, ledger, its trace deleted"
    )
    yield Row(name=NAME, value=value, unit="x", goal=GOALS[NAME], spread=spread, how=how)


def _judge(loaded: LoadedPair, case: PlannedCase, out: Path, backend: Mapping[str, Any]) -> None:
    """Judge a case as a loop of one's own would."""
    from tracing.settings import DecodeSettings
    from workbench.lockstep.judged_run import run_session
    from workbench.lockstep.session.job import LockstepOptions
    from workbench.lockstep.session.prompts import Prompt
    from workbench.lockstep.session.request import DiffRequest, session_over

    options = LockstepOptions(settings=DecodeSettings(max_new_tokens=TOKENS), seed=case.seed)
    request = DiffRequest(prompt_file=case.name, out=out, options=options, backend=backend)
    session = session_over(loaded, request, [Prompt(case.number, case.turns)])
    run_session(session, request, lambda _: None)


COSTS: Final = (Cost("campaign", dict(GOALS), _measure),)
