"""Free lockstep takes a stage's result like staged lockstep does: its form is checked, and it is copied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invariants.context import RunContext
from invariants.run import Checker
from tests.lockstep.runs import SMALL
from tests.pairs import tiny_pair
from tracing.moment import STAGES
from tracing.reader import open_run
from tracing.recorder import RunWriter
from tracing.stages import DecodePath
from workbench.fused.path import make_path
from workbench.judge.align import align
from workbench.judge.recorded.evidence import RecordedFacts
from workbench.judge.verdict import Tally
from workbench.lockstep.free.run import _coverage
from workbench.lockstep.free.runner import FreeRunner
from workbench.lockstep.recording.run_log import RunLog
from workbench.lockstep.recording.watch import LiveWatch
from workbench.lockstep.session.turns import Turn

Change = Callable[[Any], Any]


def alone(folder: Path, stage: str, change: Change) -> RunLog:
    """Decode a turn on a path whose one stage gives what `change` makes of its result."""
    pair = tiny_pair(3, head_dim=16)
    path: DecodePath = make_path(pair, SMALL, device="cpu")
    honest = getattr(path.stages, stage)
    stages = replace(path.stages, **{stage: lambda *given: change(honest(*given))})
    with RunWriter(folder) as run:
        traces = {"fused": run.path("fused", lacks=path.lacks)}
        log = RunLog(run, traces, Checker(RunContext.from_settings(SMALL)), Tally(chain=False))
        watch = LiveWatch(log.journal, log.check_before, refuse=True)
        done = FreeRunner(replace(path, stages=stages), SMALL, pair, log, watch)
        done.run([Turn(0, 0, lambda before: [*before, 1, 2, 3, 4, 5])], lambda count: None)
    return log


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_returns_nothing_is_a_finding_about_its_form(tmp_path: Path, stage: str) -> None:
    """Without it the run ends in an AttributeError some lines further on, blamed on the next stage."""
    (finding,) = alone(tmp_path / "run", stage, lambda _: None).findings
    assert (finding.rule, finding.moment.stage, finding.verdict) == (
        "JUDGE-SHAPE",
        stage,
        "structural",
    )


@pytest.mark.parametrize(
    ("stage", "change", "column"),
    [
        ("tensorize", lambda made: replace(made, depths=made.depths[:-1]), "depths"),
        ("verify", lambda made: replace(made, logits=made.logits[:, :-1]), "logits"),
        ("accept", lambda made: replace(made, accepted_nodes=np.array([-1])), "accepted_nodes"),
        ("accept", lambda made: replace(made, accepted_nodes=np.array([99])), "accepted_nodes"),
    ],
)
def test_a_misshapen_result_names_its_column(tmp_path: Path, stage: str, change: Change, column: str) -> None:
    """A negative node would be followed from the end of the tree, to a token that is no child."""
    (finding,) = alone(tmp_path / "run", stage, change).findings
    assert (finding.rule, finding.moment.stage, finding.column) == ("JUDGE-SHAPE", stage, column)


def test_lists_for_arrays_are_no_fault_and_reach_the_trace(tmp_path: Path) -> None:
    log = alone(tmp_path / "run", "tensorize", lambda made: replace(made, depths=made.depths.tolist()))
    assert log.findings == []
    assert all(row["depths"] is not None for row in open_run(tmp_path / "run").path("fused"))


def test_block_boundaries_are_counted_by_the_block_size_of_the_run() -> None:
    """It was 128 whatever the settings said."""
    path = open_run(Path(__file__).parents[2] / "traces" / "clean").path("fused")
    alignment = align(path.batches(), path.batches())
    small, large = (
        _coverage(path, alignment, RecordedFacts(block_size=size)).coverage["block_boundaries"]
        for size in (4, 1 << 20)
    )
    assert (small > 0, large) == (True, 0)


def test_a_turn_that_ends_at_its_root_keeps_its_row(tmp_path: Path) -> None:
    """The row was left open, and the row of the next turn took its place."""
    pair = tiny_pair(3, head_dim=16, eos_token_ids=range(1000))
    path: DecodePath = make_path(pair, SMALL, device="cpu")
    with RunWriter(tmp_path / "run") as run:
        traces = {"fused": run.path("fused", lacks=path.lacks)}
        log = RunLog(run, traces, Checker(RunContext.from_settings(SMALL)), Tally(chain=False))
        done = FreeRunner(path, SMALL, pair, log, LiveWatch(log.journal, log.check_before, refuse=True))
        turns = [Turn(prompt, 0, lambda before: [*before, 1, 2, 3]) for prompt in range(2)]
        done.run(turns, lambda count: None)
    rows = list(open_run(tmp_path / "run").path("fused"))
    assert [(row["prompt_id"], row["incomplete"]) for row in rows] == [
        (0, "ended at its root"),
        (1, "ended at its root"),
    ]
    assert {row["stop_reason"] for row in rows} == {"eos"}
    assert all(row["step_verdict"] for row in rows)
    path_rows = open_run(tmp_path / "run").path("fused")
    assert not align(path_rows.batches(), path_rows.batches()).findings()
