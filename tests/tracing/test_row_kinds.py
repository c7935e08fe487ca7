"""Rows that are no steps: recorded beside steps, read on demand, and never taken for steps."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tracing.columns import KEY_COLUMNS
from tracing.copying import repair_run, slice_run
from tracing.errors import TraceError
from tracing.integrity import verify_run
from tracing.moment import Moment
from tracing.reader import open_run
from tracing.recorder import RunWriter
from tracing.sealed import SealedBatch

NUM_ROWS = 150
"""More than two batches."""


def is_step(number: int) -> bool:
    return number % 7 not in {0, 3} and not 64 <= number < 128  # a whole batch without a step


STEPS = [number for number in range(NUM_ROWS) if is_step(number)]


def record_row(trace: Any, number: int) -> None:
    with trace.step(step=number) as step:
        step.record(committed_len=number, row_kind=None if is_step(number) else "prefill_chunk")


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A killed run: two batches are sealed, the rest is in the journal."""
    with RunWriter(tmp_path / "live") as run:
        trace = run.path("fused")
        for number in range(NUM_ROWS):
            record_row(trace, number)
        trace._writer._sealing.wait()
        shutil.copytree(tmp_path / "live", tmp_path / "mixed", ignore=shutil.ignore_patterns("lock"))
    return tmp_path / "mixed"


@pytest.mark.parametrize("lazily", [False, True])
@pytest.mark.parametrize("folder", ["live", "mixed"])
def test_readers_see_steps_only(mixed: Path, folder: str, lazily: bool) -> None:
    path = open_run(mixed.parent / folder, lazily=lazily).path("fused")
    assert (path.num_steps, path.problems) == (len(STEPS), [])
    assert [row["step"] for row in path] == path.keys()[:, 2].tolist() == STEPS
    assert path.columns(["committed_len"], 5, 60).column(0).to_pylist() == STEPS[5:60]
    assert path.moment(50) == Moment(0, 0, STEPS[50])
    assert path.find(Moment(0, 0, STEPS[50])) == 50
    with pytest.raises(TraceError, match="has no step 0:0:64"):
        path.find(Moment(0, 0, 64))


def test_batches_that_are_compared_as_stored_leave_them_out_too(mixed: Path) -> None:
    steps = []
    for batch in open_run(mixed).path("fused").sealed_batches([*KEY_COLUMNS, "committed_len"]):
        assert isinstance(batch, (SealedBatch, pa.RecordBatch))
        steps += batch["committed_len"].to_pylist()
    assert steps == STEPS


def test_every_row_is_there_on_demand_and_in_copies(mixed: Path, tmp_path: Path) -> None:
    everything = list(range(NUM_ROWS))
    assert open_run(mixed, every_row=True).path("fused").keys()[:, 2].tolist() == everything
    repair_run(mixed, tmp_path / "repaired")
    repaired = open_run(tmp_path / "repaired", every_row=True).path("fused")
    assert repaired.keys()[:, 2].tolist() == everything
    assert open_run(tmp_path / "repaired").path("fused").keys()[:, 2].tolist() == STEPS
    assert slice_run(tmp_path / "repaired", tmp_path / "part", Moment(0, 0, 60), Moment(0, 0, 70)) == 11
    assert open_run(tmp_path / "part").path("fused").keys()[:, 2].tolist() == [60, 61, 62]
    assert verify_run(tmp_path / "part").is_whole
