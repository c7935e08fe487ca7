"""Every file names its run and path: files of two runs, or of two paths, are never taken for one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tracing.conftest import record_step
from tracing.finding import Finding
from tracing.integrity import verify_run
from tracing.moment import Moment
from tracing.reader import open_run
from tracing.recorder import RunWriter

FINDING = Finding("numeric", "fused", Moment(0, 0, 0, "verify"), "logits")


def killed_run(folder: Path) -> Path:
    """A run of two paths whose writer ended before it sealed anything."""
    live = folder.with_name(folder.name + "-live")
    with RunWriter(live) as run:
        traces = [run.path(name) for name in ("fused", "reference")]
        for trace in traces:
            record_step(trace, 0)
        run.add_finding(FINDING)
        shutil.copytree(live, folder, ignore=shutil.ignore_patterns("lock"))
    return folder


def closed_run(folder: Path) -> Path:
    with RunWriter(folder) as run:
        for name in ("fused", "reference"):
            record_step(run.path(name), 0)
        run.add_finding(FINDING)
    return folder


@pytest.mark.parametrize("make", [killed_run, closed_run])
def test_an_untouched_run_is_its_own(make: Callable[[Path], Path], tmp_path: Path) -> None:
    run = open_run(make(tmp_path / "run"))
    assert run.problems == run.path("fused").problems == run.path("reference").problems == []
    assert run.findings == [FINDING]


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (closed_run, "fused.arrows"),
        (killed_run, "fused.arrows"),
        (killed_run, "fused.journal"),
        (killed_run, "findings.jsonl"),
    ],
)
def test_a_file_of_another_run_is_named(make: Callable[[Path], Path], name: str, tmp_path: Path) -> None:
    run, other = make(tmp_path / "run"), make(tmp_path / "other")
    shutil.copyfile(other / name, run / name)
    (health,) = [file for file in verify_run(run).files if file.name == name]
    assert (health.state, "another run" in health.message) == ("corrupt", True)


@pytest.mark.parametrize(("make", "ending"), [(closed_run, "arrows"), (killed_run, "journal")])
def test_a_file_of_another_path_is_named(make: Callable[[Path], Path], ending: str, tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    shutil.copyfile(run / f"reference.{ending}", run / f"fused.{ending}")
    (sentence,) = open_run(run).path("fused").problems
    assert sentence == f"fused.{ending}: is a file of path 'reference', not of fused"
    assert verify_run(run).state == "corrupt"
