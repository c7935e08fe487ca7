"""Runs staged lockstep on tiny random pairs, with hooks to place a fault on either side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from invariants.context import RunContext
from invariants.run import Checker
from reference.drafters import drafter_of
from tests.pairs import tiny_pair
from tracing.models import ModelPair
from tracing.recorder import RunWriter
from tracing.settings import RUNGS, DecodeSettings
from tracing.stages import DecodePath, Stages
from workbench.fused.path import make_path
from workbench.judge.verdict import RunVerdict, Tally
from workbench.lockstep.recording.run_log import RunLog
from workbench.lockstep.session.job import LockstepOptions
from workbench.lockstep.session.turns import Turn
from workbench.lockstep.staged.run import StagedRun
from workbench.lockstep.truth.reference_runner import ReferenceRunner

SMALL = DecodeSettings(tree_nodes=12, depth=3, top_k=4, max_new_tokens=16)


@dataclass
class Outcome:
    """What a run gave."""

    verdict: RunVerdict
    log: RunLog
    staged: StagedRun
    folder: Path

    @property
    def first(self) -> Any:
        return self.verdict.first_divergence


@dataclass
class Setup:
    """One run to do; fields may be replaced."""

    pair: ModelPair = field(default_factory=lambda: tiny_pair(3, head_dim=16))
    settings: DecodeSettings = SMALL
    options: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    rung: str = RUNGS[0]
    prompt: tuple[int, ...] = (1, 2, 3, 4, 5)
    eager: frozenset[str] = frozenset()


def run(
    folder: Path,
    setup: Setup | None = None,
    *,
    fused: Callable[[Stages], Stages] = lambda stages: stages,
    path: Callable[[DecodePath], DecodePath] = lambda path: path,
    reference: Callable[[ReferenceRunner], None] = lambda runner: None,
) -> Outcome:
    """Decode in staged lockstep; `fused`, `path` and `reference` place faults."""
    setup = setup or Setup()
    made = make_path(setup.pair, setup.settings, device="cpu", dtype=setup.dtype, eager=setup.eager)
    made = path(replace(made, stages=fused(made.stages)))
    runner = ReferenceRunner(setup.pair, setup.settings, path_dtype=setup.dtype, rung=setup.rung)
    reference(runner)
    options = LockstepOptions(settings=setup.settings, **setup.options)
    reads = drafter_of(setup.pair).settings
    context = RunContext.from_settings(setup.settings, setup.pair, reads=reads)
    tally = Tally(chain=runner.is_chain)
    with RunWriter(folder, {"lockstep": "staged"}) as writer:
        traces = {
            "fused": writer.path("fused", lacks=made.lacks, info=dict(made.info), on_error="warn"),
            "reference": writer.path("reference", lacks=runner.lacks, info=runner.info),
        }
        log = RunLog(writer, traces, Checker(context), tally)
        staged = StagedRun(made, runner, setup.pair, options, log, dtype=setup.dtype)
        staged.run([Turn(0, 0, lambda before: [*before, *setup.prompt])], lambda count: None)
        log.finish()
    return Outcome(tally.verdict(), log, staged, folder)
