"""`kill -9` at any moment: nothing finished is lost, and the stage in progress is named with its inputs."""

from __future__ import annotations

import os
import random
import signal
import struct
import time
from pathlib import Path

import numpy as np
import pytest

from tracing.errors import TraceError
from tracing.finding import Finding
from tracing.integrity import verify_run
from tracing.moment import Moment
from tracing.reader import open_run
from tracing.recorder import RunWriter

NUM_KILLS = 80
SEAL_EVERY = 6
STAGE, FINISHED, FINDING = 1, 2, 3
MESSAGE = struct.Struct("<BI")
NODES = np.arange(9)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


def record_until_killed(folder: Path, tell: int) -> None:
    """The child: record, and tell the parent what must be on record from now on."""
    with RunWriter(folder, token_bytes=lambda token_id: b"%d" % token_id) as run:
        trace = run.path("fused", level="basic")
        for number in range(10_000):
            with trace.step(step=number) as step:
                step.record(parents=NODES, committed_len=number)
                step.about_to_run("verify", position_ids=NODES + number)
                os.write(tell, MESSAGE.pack(STAGE, number))
                step.record(target_token_ids=NODES + 2 * number)
            os.write(tell, MESSAGE.pack(FINISHED, number))
            if number % SEAL_EVERY == SEAL_EVERY - 1:
                trace.seal()
            if number % 5 == 0:
                run.add_finding(Finding("numeric", "fused", Moment(0, 0, number, "verify"), "logits"))
                os.write(tell, MESSAGE.pack(FINDING, number))


def kill_at(folder: Path, num_messages: int, delay: float) -> list[tuple[int, int]]:
    """Fork a recorder, kill it `delay` seconds after its n-th message, return all it had said."""
    hear, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(hear)
        try:
            record_until_killed(folder, tell)
        finally:
            os._exit(1)
    os.close(tell)
    said = b""
    while len(said) < num_messages * MESSAGE.size:
        said += os.read(hear, MESSAGE.size)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(hear, 1 << 16):
        said += more
    os.close(hear)
    return list(MESSAGE.iter_unpack(said[: len(said) // MESSAGE.size * MESSAGE.size]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork in a process that may have threads
def test_a_killed_recorder_loses_nothing_that_was_finished(tmp_path: Path) -> None:
    """Catches a window of loss between journal and seal, a journal cut too early, a row counted twice."""
    chance = random.Random(7)
    states, in_progress = set(), 0
    for kill in range(NUM_KILLS):
        folder = tmp_path / str(kill)
        said = kill_at(folder, chance.randrange(0, 24), chance.choice((0, 0.001)) * chance.random())
        try:
            health = verify_run(folder)
        except TraceError:
            assert not said, "a run that had recorded something must open"
            continue
        states.add(health.state)
        assert health.state in {"truncated", "torn"}, health
        assert health.being_written is False or not health.num_steps
        if health.num_steps:
            in_progress += check_content(folder, said)
    assert in_progress, "no kill hit a step in progress; how many do depends on the load"
    assert "truncated" in states


def check_content(folder: Path, said: list[tuple[int, int]]) -> bool:
    """Compare the trace with what the child had said; return whether a step was in progress."""
    run = open_run(folder)
    path = run.path("fused")
    finished = [number for kind, number in said if kind == FINISHED]
    assert path.num_steps in {len(finished), len(finished) + 1}
    assert path.columns(["committed_len"]).column(0).to_pylist() == list(range(path.num_steps))
    if path.num_steps:
        last = path.step(path.num_steps - 1)
        np.testing.assert_array_equal(last["target_token_ids"], NODES + 2 * (path.num_steps - 1))
        assert set(last["target_token_ids"].tolist()) <= set(run.vocabulary)
    assert len(run.findings) >= sum(kind == FINDING for kind, _ in said)
    if said and said[-1][0] == STAGE and path.num_steps == said[-1][1]:
        (step,) = path.in_progress
        assert (step.moment.step, step.moment.stage) == (said[-1][1], "verify")
        np.testing.assert_array_equal(step.inputs["position_ids"], NODES + said[-1][1])
        assert step.columns["committed_len"] == said[-1][1]
        return True
    return False


def test_two_writers_cannot_take_the_same_folder(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run"), pytest.raises(TraceError, match="taken by another recording"):
        RunWriter(tmp_path / "run")
    with pytest.raises(TraceError, match="already holds a run"):
        RunWriter(tmp_path / "run")
    assert verify_run(tmp_path / "run").is_whole
