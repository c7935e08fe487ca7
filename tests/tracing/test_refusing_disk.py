"""A disk that refuses: bounded work and memory, one warning, no hole, and what was lost is in the run."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import tracing.files
import tracing.writer
from invariants.selection import Selection
from tracing import journal_frames
from tracing.backlog import MAX_ROWS
from tracing.errors import EnvironmentProblemError
from tracing.files import replace_file
from tracing.gaps import gaps, unrecorded_steps
from tracing.integrity import verify_run
from tracing.reader import open_run
from tracing.recorder import Recorder, RunWriter, open_trace
from workbench.judge.recorded.check import check_run

ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG)


class Disk:
    """`os` with a switch: while `error` is set, every write, and with `all_calls` every change, fails."""

    def __init__(self) -> None:
        self.error = 0
        self.all_calls = False
        self.writes = 0

    def pwrite(self, handle: int, data: Any, offset: int) -> int:
        self.writes += 1
        if self.error:
            os.pwrite(handle, memoryview(data)[: len(data) // 2], offset)  # a part finds room
            raise OSError(self.error, os.strerror(self.error))
        return os.pwrite(handle, data, offset)

    def ftruncate(self, handle: int, size: int) -> None:
        self._change()
        os.ftruncate(handle, size)

    def fsync(self, handle: int) -> None:
        self._change()
        os.fsync(handle)

    def _change(self) -> None:
        if self.error and self.all_calls:
            raise OSError(self.error, os.strerror(self.error))

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(tracing.files, "os", disk)
    return disk


def small_step(trace: Recorder, step: int) -> None:
    with trace.step(step=step) as recorded:
        recorded.record(token_ids=[step, 1], parents=[0, 0])
        recorded.about_to_run("verify", committed_len=step)
        recorded.record(final_token_id=step)


def state(folder: Path) -> tuple[list[int], list[tuple[int, int]]]:
    path = open_run(folder).path("fused")
    return path.keys()[:, 2].tolist(), sorted(unrecorded_steps(path).items())


@pytest.mark.parametrize("all_calls", [False, True])
@pytest.mark.parametrize("error", ERRORS)
def test_recording_goes_on_when_there_is_room_again(
    tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture, error: int, all_calls: bool
) -> None:
    """Also where the disk refuses to cut off what it took half of."""
    with caplog.at_level(logging.WARNING), open_trace(tmp_path / "run", on_error="warn") as trace:
        for step in range(1000):
            disk.error, disk.all_calls = (error if 100 <= step < 700 else 0), all_calls
            small_step(trace, step)
    steps, lost = state(tmp_path / "run")
    assert steps[:300] == list(range(300))
    assert steps[-300:] == list(range(700, 1000))
    assert sum(count for _, count in lost) == 1000 - len(steps) > 100
    assert [steps[row] - steps[row - 1] - 1 for row, _ in lost] == [count for _, count in lost]
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2, messages
    assert f"{1000 - len(steps)} steps are not recorded" in messages[1]
    assert verify_run(tmp_path / "run").state == "complete"


def test_a_short_refusal_loses_nothing(tmp_path: Path, disk: Disk) -> None:
    with open_trace(tmp_path / "run", on_error="warn") as trace:
        for step in range(400):
            if step % 100 in (0, 60):
                trace._writer._sealing.wait()  # a batch meets the disk that it was begun on
            disk.error = errno.ENOSPC if step % 100 < 60 else 0
            small_step(trace, step)
        disk.error = 0
    assert state(tmp_path / "run") == (list(range(400)), [])


def test_what_was_lost_makes_a_check_inconclusive_and_is_no_alarm(tmp_path: Path, disk: Disk) -> None:
    with open_trace(tmp_path / "run", on_error="warn") as trace:
        for step in range(1000):
            disk.error = errno.ENOSPC if 100 <= step < 700 else 0
            small_step(trace, step)
    checked = check_run(tmp_path / "run", Selection(select=("STEP001",)))
    assert (checked.exit_code, checked.findings) == (4, ())
    assert "of 1000 steps were judged" in checked.remark


@pytest.mark.parametrize("refused", [{"fused.journal"}, {"fused.journal.new"}, {"fused.arrows"}, {""}])
def test_work_and_memory_do_not_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: set[str]
) -> None:
    """Each step once took longer than the one before, and the process grew without end."""
    sealed: list[int] = []
    monkeypatch.setattr(tracing.writer, "batch_of_rows", counted(sealed))
    writes: list[str] = []
    monkeypatch.setattr(tracing.files.AppendFile, "append", refusing(refused, writes))
    run = RunWriter(tmp_path / "run")
    trace = run.path("fused", on_error="warn")
    for step in range(300):
        small_step(trace, step)
    refused.add("on")
    for step in range(300, 3300):
        small_step(trace, step)
    assert len(sealed) < 300 // 64 + 3000 // 64 + 3
    assert len(writes) < 3 * 3300
    assert len(trace._writer._backlog._rows) <= MAX_ROWS
    refused.clear()
    run.close()
    steps, lost = state(tmp_path / "run")
    assert len(steps) + sum(count for _, count in lost) == 3300
    assert verify_run(tmp_path / "run").state == "complete"


def counted(calls: list[int]) -> Any:
    real = tracing.writer.batch_of_rows

    def batch_of_rows(rows: Any) -> Any:
        calls.append(len(rows))
        return real(rows)

    return batch_of_rows


def refusing(names: set[str], writes: list[str]) -> Any:
    """`AppendFile.append` that fails for files of these names, or for all, once `on` is among them."""
    real = tracing.files.AppendFile.append

    def append(self: tracing.files.AppendFile, data: bytes) -> None:
        writes.append(self.path.name)
        if "on" in names and ("" in names or self.path.name in names):
            raise EnvironmentProblemError(f"no space left to write {self.path}")
        real(self, data)

    return append


@pytest.mark.parametrize("num_refused", [1, 5, 300])
def test_a_refusal_and_a_kill_leave_no_hole_that_nobody_reports(
    tmp_path: Path, disk: Disk, num_refused: int
) -> None:
    with open_trace(tmp_path / "live", on_error="warn") as trace:
        for step in range(500):
            disk.error = errno.ENOSPC if 10 <= step < 10 + num_refused else 0
            small_step(trace, step)
            if step in {5, 10 + num_refused + 3, 490}:
                trace._writer._sealing.wait()  # a copy of files that are being written is no killed run
                shutil.copytree(tmp_path / "live", tmp_path / f"killed-{step}", ignore=lambda *_: {"lock"})
    for folder in tmp_path.glob("killed-*"):
        steps, lost = state(folder)
        last = int(folder.name.removeprefix("killed-"))
        assert verify_run(folder).state == "truncated"
        assert len(steps) + sum(count for _, count in lost) == last + 1
        assert [steps[row] - steps[row - 1] - 1 for row, _ in lost] == [count for _, count in lost]


def test_a_hole_in_a_journal_is_said_however_it_came(tmp_path: Path) -> None:
    """Writers of before left one after a refused write and a kill."""
    with RunWriter(tmp_path / "live") as run:
        trace = run.path("fused")
        for step in range(4):
            small_step(trace, step)
        shutil.copytree(tmp_path / "live", tmp_path / "run", ignore=lambda *_: {"lock"})
    journal = tmp_path / "run" / "fused.journal"
    data = journal.read_bytes()
    stops = [0, *(stop for _, stop in journal_frames.scan(memoryview(data)))]
    records = [
        journal_frames.Record(entry.kind, data[start + 20 : stop])
        for start, (entry, stop) in zip(stops, journal_frames.scan(memoryview(data)), strict=False)
    ]
    replace_file(journal, journal_frames.chain([*records[:3], *records[5:]])[0])
    assert state(tmp_path / "run")[0] == [0, 2, 3]
    assert gaps(open_run(tmp_path / "run").path("fused")) == [1]
    assert verify_run(tmp_path / "run").state == "corrupt"
    assert any("1 finished steps are missing" in problem for problem in check_run(tmp_path / "run").problems)


@pytest.mark.parametrize("change", [shutil.rmtree, lambda folder: folder.rename(folder.with_name("moved"))])
def test_a_folder_that_goes_away_is_one_clear_error(tmp_path: Path, change: Any) -> None:
    with open_trace(tmp_path / "quiet", on_error="warn") as trace:
        small_step(trace, 0)
        change(tmp_path / "quiet")
        for step in range(1, 1000):
            small_step(trace, step)
    (tmp_path / "moved").exists() and shutil.rmtree(tmp_path / "moved")

    def loud() -> None:
        with open_trace(tmp_path / "loud") as trace:
            for step in range(1000):
                small_step(trace, step)
                if step == 3:
                    change(tmp_path / "loud")

    with pytest.raises(EnvironmentProblemError, match="cannot write"):
        loud()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and limits")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork in a process that may have threads
def test_a_limit_of_the_system_is_a_refusal_too(tmp_path: Path) -> None:
    """The kernel itself refuses: no file may grow beyond 60,000 bytes."""
    resource = pytest.importorskip("resource")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
            with open_trace(tmp_path / "run", on_error="warn") as trace:
                for step in range(3000):
                    small_step(trace, step)
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    steps, lost = state(tmp_path / "run")
    assert 0 < len(steps) < 3000
    assert len(steps) + sum(count for _, count in lost) == 3000
    assert verify_run(tmp_path / "run").state == "complete"


def test_steps_that_cannot_begin_or_be_written_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_trace(tmp_path / "run", on_error="warn") as trace:
        for step in range(3):
            small_step(trace, step)
        small_step(trace, 1 << 40)
        with monkeypatch.context() as patched:
            patched.setattr(journal_frames, "MAX_FRAME_BYTES", 50)
            small_step(trace, 3)
        small_step(trace, 4)
    assert state(tmp_path / "run") == ([0, 1, 2, 4], [(3, 2)])
