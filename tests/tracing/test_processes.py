"""A run belongs to the process that opened it: forked children, signal handlers, finalisers, threads."""

from __future__ import annotations

import gc
import itertools
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tracing.conftest import record_step
from tracing.errors import TraceError, UsageError
from tracing.files import is_being_written
from tracing.finding import Finding
from tracing.gaps import unrecorded_steps
from tracing.integrity import verify_run
from tracing.moment import Moment
from tracing.reader import open_run
from tracing.recorder import RunWriter, Trace, open_trace

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # fork in a process that may have threads
]

FINDING = Finding("ok", "unknown", Moment(0, 0, 0, "verify"), "")


def in_child(work: Callable[[], object]) -> int:
    """Run `work` in a forked child that ends as soon as it returns; return its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except SystemExit:
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def small_step(trace: Trace, step: int) -> None:
    with trace.step(step=step) as recorded:
        recorded.record(token_ids=list(range(500)), parents=[0] * 500)


def steps_of(folder: Path) -> list[int]:
    steps: list[int] = open_run(folder).path("fused").keys()[:, 2].tolist()
    return steps


@pytest.mark.parametrize("on_error", ["raise", "warn"])
@pytest.mark.parametrize("is_in_step", [False, True])
def test_a_child_that_leaves_the_block_takes_nothing_from_its_parent(
    tmp_path: Path, on_error: Any, is_in_step: bool
) -> None:
    """The parent once lost a third of its steps, and the run said `complete`."""
    child = 0
    with open_trace(tmp_path / "run", on_error=on_error) as trace:
        for step in range(150):
            if step == 70 and not is_in_step:
                child = os.fork()
            if child == 0 and step > 70 and not is_in_step:
                break
            with trace.step(step=step) as recorded:
                recorded.record(token_ids=[step, 1], parents=[0, 0])
                if step == 70 and is_in_step:
                    child = os.fork()
            if child == 0 and step == 70 and is_in_step:
                break
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert steps_of(tmp_path / "run") == list(range(150))
    assert verify_run(tmp_path / "run").state == "complete"


def test_everything_that_a_child_may_do_is_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with RunWriter(tmp_path / "run", token_bytes=lambda _: b"x") as run:
        trace = run.path("fused")
        record_step(trace, 0)

        def work() -> None:
            with caplog.at_level(logging.WARNING):
                for step in range(200):
                    record_step(trace, step)
                trace.seal()
                run.add_finding(FINDING)
                run.save_bulk(Moment(0, 0, 0), "logits", np.arange(3))
                run.update(verdict="ok")
                run.add_tokens({7: b"seven"})
                with pytest.raises(UsageError, match="was forked"):
                    run.path("reference")
                run.close()
                assert len(caplog.records) == 1
                assert "was forked" in caplog.text

        before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
        assert in_child(work) == 0
        assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
        record_step(trace, 1)
    assert steps_of(tmp_path / "run") == [0, 1]
    assert verify_run(tmp_path / "run").state == "complete"


def test_a_child_records_a_run_of_its_own(tmp_path: Path) -> None:
    def work() -> None:
        with open_trace(tmp_path / "child") as own:
            for step in range(70):
                record_step(own, step)

    with open_trace(tmp_path / "run") as trace:
        record_step(trace, 0)
        assert in_child(work) == 0
    assert (len(steps_of(tmp_path / "run")), len(steps_of(tmp_path / "child"))) == (1, 70)


def _exit_of_worker(trace: Any, step: int) -> None:
    record_step(trace, step)
    sys.exit(0)


def test_workers_of_multiprocessing_and_collected_generators(tmp_path: Path) -> None:
    context = open_trace(tmp_path / "run")
    trace = context.__enter__()
    record_step(trace, 0)
    workers = [
        multiprocessing.get_context("fork").Process(target=_exit_of_worker, args=(trace, step))
        for step in range(1, 4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    holder = [context]

    def collect() -> None:
        nonlocal context
        holder.clear()
        del context
        gc.collect()

    assert in_child(collect) == 0
    record_step(trace, 1)
    context.__exit__(None, None, None)
    assert steps_of(tmp_path / "run") == [0, 1]
    assert verify_run(tmp_path / "run").state == "complete"


def test_a_child_that_lives_on_does_not_hold_the_lock_of_a_killed_parent(tmp_path: Path) -> None:
    hear, tell = os.pipe()
    child = os.fork()
    if child == 0:
        run = RunWriter(tmp_path / "run")
        record_step(run.path("fused"), 0)
        grandchild = os.fork()
        if grandchild == 0:
            signal.pause()
        os.write(tell, b"%d" % grandchild)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    grandchild = int(os.read(hear, 16))
    try:
        assert is_being_written(tmp_path / "run") is False
    finally:
        os.kill(grandchild, signal.SIGKILL)


def test_a_signal_in_the_middle_of_a_write_harms_nothing(tmp_path: Path) -> None:
    """A handler that records in the middle of another record is refused; at other times it may."""
    with RunWriter(tmp_path / "run") as run:
        trace = run.path("fused", on_error="warn")
        numbers = itertools.count(10_000)

        def handle(*_: object) -> None:
            small_step(trace, next(numbers))
            signal.setitimer(signal.ITIMER_REAL, 0.0007)

        before = signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0007)
        try:
            for step in range(300):
                small_step(trace, step)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    steps = steps_of(tmp_path / "run")
    assert [step for step in steps if step < 10_000] == list(range(300))
    lost = sum(unrecorded_steps(open_run(tmp_path / "run").path("fused")).values())
    assert len(steps) + lost == 300 + next(numbers) - 10_000
    assert len(set(steps)) == len(steps)
    assert next(numbers) > 10_001
    assert verify_run(tmp_path / "run").state == "complete"


def test_a_call_from_inside_a_write_is_refused_with_a_sentence(tmp_path: Path) -> None:
    caught: list[Exception] = []

    def token_bytes(token_id: int) -> bytes:
        try:
            traces[0].seal()
        except TraceError as problem:
            caught.append(problem)
        return b"%d" % token_id

    with RunWriter(tmp_path / "run", token_bytes=token_bytes) as run:
        traces: list[Trace] = [run.path("fused")]
        record_step(traces[0], 0)
    assert "in the middle of a write" in str(caught[0])
    assert verify_run(tmp_path / "run").state == "complete"


def test_threads_of_two_paths_and_a_manifest(tmp_path: Path) -> None:
    """Every token is on record before its first use, and no thread's tensor or finding is forgotten."""
    live = tmp_path / "run"
    problems: list[BaseException] = []
    with RunWriter(live, token_bytes=lambda token_id: b"%d" % token_id) as run:
        traces = [run.path(name) for name in ("fused", "reference")]

        def work(number: int) -> None:
            try:
                for step in range(40):
                    with traces[number % 2].step(prompt_id=number, step=step) as recorded:
                        recorded.record(token_ids=[step, 1000 + step], parents=[0, 0])
                    run.add_finding(FINDING)
                    if step % 10 == 0:
                        run.save_bulk(Moment(number, 0, step), "logits", np.arange(3))
            except BaseException as problem:  # noqa: BLE001 handed to the test
                problems.append(problem)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            check_vocabulary(live)
        for thread in threads:
            thread.join()
    assert not problems
    assert verify_run(live).state == "complete"
    opened = open_run(live)
    assert [opened.path(name).num_steps for name in opened.path_names] == [120, 120]
    assert (len(opened.findings), len(opened.manifest["bulk"])) == (240, 24)


def check_vocabulary(live: Path) -> None:
    run = open_run(live)
    used = {
        token
        for name in run.path_names
        for row in run.path(name)
        if row["token_ids"] is not None
        for token in row["token_ids"].tolist()
    }
    assert used <= set(open_run(live).vocabulary)


def test_a_reader_of_a_living_run_sees_no_damage(tmp_path: Path) -> None:
    """Whatever the writer does between the readings of two files: seals, begins a path, adds findings."""
    problems: list[str] = []
    live = tmp_path / "run"
    with RunWriter(live, token_bytes=lambda token_id: b"%d" % token_id) as run:
        traces = [run.path("fused")]

        def work() -> None:
            for step in range(250):
                if step % 50 == 25:
                    traces.append(run.path(f"path{step}"))
                small_step(traces[-1], step)
                traces[-1].seal()
                run.add_finding(FINDING)

        thread = threading.Thread(target=work)
        thread.start()
        opened = open_run(live)
        while thread.is_alive():
            for reader in (open_run(live), opened):
                problems += reader.problems
                problems += [each for name in reader.path_names for each in reader.path(name).problems]
            opened.refresh()
        thread.join()
    assert problems == []
    assert verify_run(live).state == "complete"
