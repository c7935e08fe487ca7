"""A worker: keeps models loaded, runs one case after the other, and writes each outcome into its ledger."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from tracing.errors import SpecwbError
from tracing.settings import Device, RungName
from workbench.campaign.acceptance import facts_told
from workbench.campaign.axes import RunOptions, options_of
from workbench.campaign.case import PlannedCase
from workbench.campaign.ledger import Ledger
from workbench.campaign.planted import planted
from workbench.campaign.told import RUNS, deaths_of, digest_of, label_of, runs_of, summarised

if TYPE_CHECKING:
    from workbench.checkpoints.load import LoadedPair
    from workbench.lockstep.session.request import DiffRequest
    from workbench.report.summary import RunSummary

OURS: Final = "workbench.campaign.worker:make_worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerJob:
    """What a worker is started with, as plain data that crosses processes.

    Attributes:
        folder: Of the campaign, shared by all workers.
        name: Of the worker, the same after it is replaced.
        model, draft: Checkpoint directories; None is the shipped pair.
        max_new_tokens: Of every turn, where no axis says.
        fused: `module:factory` of the path under test; None is ours.
        keep_every: A clean case keeps its trace if its number is a multiple; 0 keeps none.
        keep_bytes: A worker keeps no more than this of traces, those of findings included.
        threads: Of torch; None leaves its own.
    """

    folder: str
    name: str
    model: str | None = None
    draft: str | None = None
    max_new_tokens: int = 32
    device: str = "auto"
    fused: str | None = None
    keep_every: int = 50
    keep_bytes: int = 1 << 30
    threads: int | None = None


class CampaignWorker(Protocol):
    """Runs cases."""

    def run(self, case: PlannedCase) -> dict[str, Any]:
        """Run a case, write its outcome into the ledger and return it."""
        ...


def make_worker(job: WorkerJob) -> CampaignWorker:
    """Return the usual worker."""
    return CaseRunner(job)


def worker_from(factory: str, job: WorkerJob) -> CampaignWorker:
    """Return the worker that `module:function` makes."""
    module, _, name = factory.partition(":")
    worker: CampaignWorker = getattr(importlib.import_module(module), name)(job)
    return worker


@dataclass(slots=True)
class CaseRunner:
    """The usual worker; see `CampaignWorker`."""

    job: WorkerJob
    _pairs: dict[tuple[str, str], LoadedPair] = field(default_factory=dict)
    _kept: int = 0
    _ledger: Ledger = field(init=False)
    _environment: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        """Prepare the process: operators, threads, ledger."""
        from workbench.npu.bootstrap import bootstrap

        backend = bootstrap("auto")
        import torch

        if self.job.threads is not None:
            torch.set_num_threads(self.job.threads)
        self._environment = {
            "host": platform.node(),
            "torch": torch.__version__,
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "device": self.job.device,
            "backend": backend.as_json(),
        }
        own = f"{self.job.name}-{platform.node()}-{os.getpid()}-{time.time_ns()}"
        self._ledger = Ledger(Path(self.job.folder), own)

    def run(self, case: PlannedCase) -> dict[str, Any]:
        """Run a case, write its outcome into the ledger and return it."""
        runs, label = runs_of(self.job.folder), label_of(case, self.job.name)
        before = deaths_of(runs, label)
        folder = runs / f"{label}-{len(before)}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        told = self._told(case, folder)
        outcome = case.outcome_by(self.job.name) | {
            "environment": self._environment,
            "seconds": time.perf_counter() - start,
            "deaths": before,
            **told,
        }
        self._ledger.add(outcome)
        return outcome

    def _told(self, case: PlannedCase, folder: Path) -> dict[str, Any]:
        """Judge a case; what cannot be run is told, and ends nothing but this case."""
        try:
            summary = self._judged(case, folder)
        except SpecwbError as problem:
            return {"verdict": "not run", "exit_code": problem.exit_code, "problem": str(problem)}
        told = summarised(summary)
        if not told["num_findings"] and not case.fault:
            told["facts"] = facts_told(folder)
        if case.canary:
            told["digest"] = digest_of(folder)
        told["run"] = self._keep(case, folder, told)
        return told

    def _judged(self, case: PlannedCase, folder: Path) -> RunSummary:
        from workbench.lockstep.judged_run import run_session
        from workbench.lockstep.session.prompts import Prompt
        from workbench.lockstep.session.request import session_over

        options = options_of(case.over, self.job.max_new_tokens)
        request = self._request(case, options, folder)
        session = session_over(self._pair(options), request, [Prompt(case.number, case.turns, case.cut)])
        with planted(session, case.fault) as under_test:
            return run_session(under_test, request, lambda _: None)

    def _request(self, case: PlannedCase, options: RunOptions, folder: Path) -> DiffRequest:
        from workbench.lockstep.session.job import LockstepOptions
        from workbench.lockstep.session.request import DiffRequest

        return DiffRequest(
            prompt_file=case.name,
            out=folder,
            options=LockstepOptions(settings=options.settings, seed=case.seed),
            backend=self._environment["backend"],
            model=self.job.model,
            draft=self.job.draft,
            proposer=options.proposer,
            fused=self.job.fused,
            eager=options.eager,
            device=cast("Device", self.job.device),
            dtype=options.dtype,
            rung=cast("RungName", options.rung),
            weights=options.weights,
        )

    def _pair(self, options: RunOptions) -> LoadedPair:
        from workbench.checkpoints.load import load_pair
        from workbench.lockstep.session.request import pair_directories

        key = (options.proposer, options.weights)
        if key not in self._pairs:
            directories = pair_directories(self.job.model, self.job.draft, options.proposer)
            self._pairs[key] = load_pair(*directories, proposer=options.proposer, weights=options.weights)
        return self._pairs[key]

    def _keep(self, case: PlannedCase, folder: Path, told: Mapping[str, Any]) -> str | None:
        """Keep or delete a trace; return its name in the campaign's folder where it is kept."""
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        sampled = self.job.keep_every > 0 and case.number % self.job.keep_every == 0
        wanted = told["exit_code"] != 0 or case.canary or sampled
        if not wanted or self._kept + size > self.job.keep_bytes:
            shutil.rmtree(folder, ignore_errors=True)
            return None
        self._kept += size
        return f"{RUNS}/{folder.name}"
