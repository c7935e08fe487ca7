"""Workers that decode nothing: what drives and merges them is under test."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.campaign.case import PlannedCase
from workbench.campaign.ledger import Ledger
from workbench.campaign.worker import WorkerJob

COVERAGE = {"steps": 2, "rejections": 1, "acceptances": 2, "branches": 2, "pads": 0}
FACTORY = "tests.campaign.fakes:make"


def outcome_of(case: PlannedCase, worker: str = "w0", **more: Any) -> dict[str, Any]:
    """The outcome of a case in which all holds, or whose planted fault is found."""
    finding = {
        "verdict": "structural",
        "guilty": "fused",
        "prompt_id": case.number,
        "turn": 0,
        "step": 0,
        "stage": "verify",
        "column": case.fault,
        "node": 1,
        "rule": "MASK001",
        "message": f"planted {case.fault}",
        "explanation": f"row {case.number} of {case.fault}",
    }
    return {
        "number": case.number,
        "id": case.id,
        "name": case.name,
        "over": dict(case.over),
        "fault": case.fault,
        "canary": case.canary,
        "worker": worker,
        "environment": {"host": "here", "cpu": "AVX2"},
        "seconds": 0.1,
        "deaths": [],
        "verdict": "structural" if case.fault else "ok",
        "exit_code": 1 if case.fault else 0,
        "steps": 2,
        "unjudged_steps": 0,
        "num_accepted": [1, 2],
        "emitted": 5,
        "near_ties": 0,
        "coverage": COVERAGE,
        "is_enough": True,
        "num_findings": int(bool(case.fault)),
        "findings": [finding] if case.fault else [],
        "digest": "00",
        **more,
    }


@dataclass
class FakeWorker:
    """Writes outcomes; the cases that a file names end its process, once or each time."""

    job: WorkerJob

    def __post_init__(self) -> None:
        self._ledger = Ledger(Path(self.job.folder), f"{self.job.name}-{os.getpid()}-{time.time_ns()}")

    def run(self, case: PlannedCase) -> dict[str, Any]:
        for word in ("once", "always"):
            mark = Path(self.job.folder) / f"kill-{word}-{case.number}"
            if mark.exists():
                if word == "once":
                    mark.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        outcome = outcome_of(case, self.job.name)
        self._ledger.add(outcome)
        return outcome


def make(job: WorkerJob) -> FakeWorker:
    """Factory for the pools."""
    return FakeWorker(job)
