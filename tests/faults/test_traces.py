"""The runs under `traces/`: the clean one holds, each faulty one names its fault, the killed one its end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pages.traces import DIES_AT_STEP, FAULTY, FIRST_BAD_STEP, LONG, LONG_PROMPT, late_fault
from tracing.distances import DEFAULT_EDGES
from tracing.reader import open_run
from tracing.schema import FORMAT_VERSION
from workbench.faults.bench import tiny_bench
from workbench.faults.experiment import run_lockstep
from workbench.judge.recorded.check import check_run

TRACES = Path(__file__).parents[2] / "traces"
FOUND_BY = {
    "sibling-leak": "MASK001",
    "position-off-by-one": "POS001",
    "stale-row": "KV005",
    "wrong-parent": "TREE011",
}


def test_the_clean_run_holds() -> None:
    checked = check_run(TRACES / "clean")
    assert (checked.exit_code, checked.findings) == (0, ())


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_run_names_its_fault(name: str) -> None:
    checked = check_run(TRACES / name)
    assert checked.exit_code == 1
    assert checked.findings[0].rule == FOUND_BY[name]
    assert {finding.moment.step for finding in checked.findings} == {FIRST_BAD_STEP}


def test_the_killed_run_says_where_its_writer_ended() -> None:
    checked = check_run(TRACES / "truncated")
    assert (checked.exit_code, checked.state) == (4, "truncated")
    ends = [str(moment) for path in checked.paths for moment in path.in_progress if path.name == "fused"]
    assert ends == [f"0:0:{DIES_AT_STEP}:verify"]


def test_the_long_run_holds_and_its_drafter_looks_back_over_every_distance() -> None:
    checked = check_run(TRACES / LONG)
    assert (checked.exit_code, checked.findings) == (0, ())
    run = open_run(TRACES / LONG)
    for name in run.path_names:
        offsets = np.concatenate([np.ma.compressed(row["draft_top1_offsets"]) for row in run.path(name)])
        assert np.histogram(offsets, [*DEFAULT_EDGES, LONG_PROMPT + 100])[0].min() > 0


@pytest.mark.parametrize("name", ["clean", "truncated", LONG, *FAULTY])
def test_a_run_is_of_the_current_format(name: str) -> None:
    assert open_run(TRACES / name).manifest["format"] == FORMAT_VERSION


@pytest.mark.parametrize("name", ["clean", "truncated", LONG, *FAULTY])
def test_a_run_is_small_and_speaks_of_no_machine(name: str) -> None:
    files = [path for path in (TRACES / name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 300_000
    assert not any(b"/home/" in data or b"/tmp/" in data for data in (path.read_bytes() for path in files))


def test_they_can_be_recorded_anew(tmp_path: Path) -> None:
    setup = tiny_bench().setup("plain")
    run_lockstep(setup, late_fault("sibling-leak"), tmp_path / "run", on_violation="launch")
    assert check_run(tmp_path / "run").findings[0].rule == "MASK001"
