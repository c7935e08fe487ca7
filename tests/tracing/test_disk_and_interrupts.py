"""A full disk and Ctrl-C: one clear error, and a trace that still holds every finished step."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import tracing.files
from invariants.selection import Selection
from tests.tracing.conftest import record_step
from tracing.errors import EnvironmentProblemError
from tracing.finding import Finding
from tracing.integrity import verify_run
from tracing.moment import Moment
from tracing.reader import open_run
from tracing.recorder import RunWriter, open_trace
from workbench.judge.recorded.check import check_run

PACKAGE = Path(tracing.files.__file__).parent
FINDING = Finding("ok", "unknown", Moment(0, 0, 0, "verify"), "")


class FullDisk:
    """A disk with room for so many bytes: the last write is cut short, later ones fail."""

    def __init__(self, room: int) -> None:
        self.room = room

    def pwrite(self, handle: int, data: Any, offset: int) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        piece = memoryview(data)[: self.room]
        self.room -= len(piece)
        return os.pwrite(handle, piece, offset)


class Disk:
    """`os` with another pwrite; everything else is the real one."""

    def __init__(self, pwrite: Callable[..., int]) -> None:
        self.pwrite = pwrite

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


@pytest.mark.parametrize("room", [0, 300, 2000, 6000, 9000, 12_000, 20_000, 33_000, 50_000])
def test_a_full_disk_gives_one_clear_error_and_loses_no_finished_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(tracing.files, "os", Disk(FullDisk(room).pwrite))
    finished, caught = 0, EnvironmentProblemError("none came")
    try:
        with RunWriter(tmp_path) as run:
            trace = run.path("fused")
            for step in range(200):
                record_step(trace, step)
                finished += 1
                if step % 5 == 4:
                    trace.seal()
                    run.add_finding(FINDING)
    except EnvironmentProblemError as problem:
        caught = problem
    assert "no space left" in str(caught)
    assert caught.exit_code == 3
    monkeypatch.undo()
    if not (tmp_path / "manifest.json").exists():
        assert finished == 0
        return
    health = verify_run(tmp_path)
    assert health.state in {"complete", "truncated"}, health
    assert health.num_steps.get("fused", 0) >= finished
    assert not (tmp_path / "lock").exists()


def test_warn_mode_lets_the_host_live_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["pytest"])  # the manifest's size should not depend on the call
    monkeypatch.setattr(tracing.files, "os", Disk(FullDisk(16_000).pwrite))
    with open_trace(tmp_path / "run", on_error="warn") as trace:
        for step in range(100):
            record_step(trace, step)
    assert "no space left" in caplog.text
    assert len(caplog.records) < 10
    monkeypatch.undo()
    assert verify_run(tmp_path / "run").num_steps["fused"] >= 2


def test_a_run_whose_files_could_not_be_closed_is_never_ok(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit on the size of files lets the manifest say `failed` while most steps are lost."""

    def limited(handle: int, data: Any, offset: int) -> int:
        if offset + len(data) > 12_000:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return os.pwrite(handle, data, offset)

    monkeypatch.setattr(tracing.files, "os", Disk(limited))
    with open_trace(tmp_path / "run", on_error="warn") as trace:
        for step in range(100):
            record_step(trace, step)
    monkeypatch.undo()
    health = verify_run(tmp_path / "run")
    checked = check_run(tmp_path / "run", Selection(select=("STEP001",)))
    assert (health.state, health.status) == ("truncated", "failed")
    assert 0 < checked.num_steps < 100
    assert (checked.state, checked.exit_code) == ("truncated", 4)


def test_space_that_comes_back_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed write leaves no torn record behind, so later steps are readable too."""
    disk = FullDisk(9_000)
    monkeypatch.setattr(sys, "argv", ["pytest"])  # the manifest's size should not depend on the call
    monkeypatch.setattr(tracing.files, "os", Disk(disk.pwrite))
    with open_trace(tmp_path / "run", level="full") as trace:
        for step in range(20):
            try:
                record_step(trace, step)
            except EnvironmentProblemError:
                disk.room = 10**9
    path = open_run(tmp_path / "run").path("fused")
    assert path.columns(["step"]).column(0).to_pylist() == list(range(20))
    assert verify_run(tmp_path / "run").is_whole


class InterruptAfter:
    """Raises KeyboardInterrupt at the n-th line executed inside the trace package."""

    def __init__(self, num_lines: int) -> None:
        self.left = num_lines

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if Path(frame.f_code.co_filename).parent != PACKAGE:
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self


def test_an_interrupt_at_any_line_leaves_a_whole_run(tmp_path: Path) -> None:
    """Catches a row that is neither pending nor sealed, and one that is sealed twice."""
    num_lines, run_number = 40, 0
    while True:
        folder = tmp_path / str(run_number)
        finished = record_with_interrupt(folder, num_lines)
        if finished is None:
            break
        health = verify_run(folder)
        assert (health.state, health.status) == ("complete", "interrupted"), (num_lines, health)
        path = open_run(folder).path("fused")
        steps = path.columns(["step"]).column(0).to_pylist()
        assert steps[: len(finished)] == finished
        assert steps == list(range(len(steps)))
        num_lines += 89
        run_number += 1
    assert run_number > 40


def record_with_interrupt(folder: Path, num_lines: int) -> list[int] | None:
    """Return the steps that were finished before the interrupt, None when it never came."""
    finished: list[int] = []
    previous = sys.gettrace()
    try:
        with RunWriter(folder) as run:
            trace = run.path("fused", level="basic")
            sys.settrace(InterruptAfter(num_lines))
            for step in range(5):
                with trace.step(step=step) as recorded:
                    recorded.record(parents=[0, 0], committed_len=step)
                    recorded.about_to_run("verify", token_ids=[1, 2])
                    recorded.record(final_token_id=4)
                finished.append(step)
                if step % 2:
                    trace.seal()
            sys.settrace(previous)
    except KeyboardInterrupt:
        return finished
    finally:
        sys.settrace(previous)
    return None
