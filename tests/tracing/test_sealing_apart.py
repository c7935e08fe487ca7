"""Batches are sealed beside the host: no step waits for them, and a kill meanwhile loses nothing."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from tracing.errors import EnvironmentProblemError
from tracing.integrity import verify_run
from tracing.process import InsideError
from tracing.reader import open_run
from tracing.recorder import RunWriter
from tracing.stream_file import StreamFile

NUM_STEPS = 74
"""More than a batch: the last ten end while the first 64 are being sealed."""


class Gate:
    """Holds the thread that seals back, before or after it has written its batch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *problems: str, written: bool = False) -> None:
        self.problems = list(problems)
        self.reached, self.opened = threading.Event(), threading.Event()
        real = StreamFile.append

        def append(file: StreamFile, batch: Any, **given: Any) -> None:
            is_apart = (
                threading.current_thread() is not threading.main_thread() and "step" in batch.schema.names
            )
            if written:
                real(file, batch, **given)
            if is_apart:
                self.reached.set()
                assert self.opened.wait(30)
                if self.problems:
                    raise EnvironmentProblemError(self.problems.pop())
            if not written:
                real(file, batch, **given)

        monkeypatch.setattr(StreamFile, "append", append)


def record(trace: Any, step: int) -> None:
    with trace.step(step=step) as recorded:
        recorded.record(committed_len=step)
        recorded.about_to_run("verify", token_ids=[step, 1])
        recorded.record(token_ids=[step, 1])


def rows(folder: Path) -> list[tuple[int, int, list[int]]]:
    return [
        (row["step"], row["committed_len"], row["token_ids"].tolist())
        for row in open_run(folder).path("fused")
    ]


@pytest.mark.parametrize("written", [False, True])
def test_steps_go_on_while_a_batch_is_sealed_and_a_kill_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    gate = Gate(monkeypatch, written=written)
    expected = [(step, step, [step, 1]) for step in range(NUM_STEPS)]
    names = {token: f"{token}".encode() for token in range(NUM_STEPS)}
    with RunWriter(tmp_path / "live", token_bytes=names.get) as run:
        trace = run.path("fused")
        waiting = trace.step(step=NUM_STEPS)
        waiting.about_to_run("draft", committed_len=7)
        for step in range(NUM_STEPS):
            record(trace, step)
        assert gate.reached.wait(30)
        shutil.copytree(tmp_path / "live", tmp_path / "during", ignore=lambda *_: {"lock"})
        gate.opened.set()
        trace._writer._sealing.wait()
        shutil.copytree(tmp_path / "live", tmp_path / "after", ignore=lambda *_: {"lock"})
    for name in ("during", "after"):
        folder = tmp_path / name
        assert rows(folder) == expected
        assert verify_run(folder).state == "truncated"
        assert [step.inputs for step in open_run(folder).path("fused").in_progress] == [{"committed_len": 7}]
        assert open_run(folder).vocabulary == {1: b"1", **names}
    sealed = [len(open_run(tmp_path / name).path("fused").unsealed) for name in ("during", "after")]
    assert sealed == ([10, 10] if written else [74, 10])
    assert rows(tmp_path / "live") == expected


def test_a_batch_that_the_disk_refuses_is_told_at_the_next_step_and_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, "no space left")
    gate.opened.set()
    with RunWriter(tmp_path / "run") as run:
        trace = run.path("fused")
        with pytest.raises(EnvironmentProblemError, match="no space left"):  # noqa: PT012 at once or a step later
            for step in range(65):
                last = step
                record(trace, step)
                if step == 63:
                    trace._writer._sealing.wait()
        assert last >= 63
        for step in range(last + 1, 200):
            record(trace, step)
    assert rows(tmp_path / "run") == [(step, step, [step, 1]) for step in range(200)]
    assert verify_run(tmp_path / "run").is_whole


def test_a_call_from_inside_another_one_does_not_wait_for_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal handler that seals in the middle of a write would wait for a thread that waits for it."""
    gate = Gate(monkeypatch)
    with RunWriter(tmp_path / "run") as run:
        trace = run.path("fused")
        for step in range(64):
            record(trace, step)
        assert gate.reached.wait(30)
        with pytest.raises(InsideError):
            trace._writer._alone.run(trace.seal)
        gate.opened.set()
    assert verify_run(tmp_path / "run").is_whole
