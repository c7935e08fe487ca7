"""A stage that does not end is a finding that names it, and the run is closed in good order."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.lockstep.hostile_runs import SHAPE, Runs, require_found, require_orderly
from tracing.reader import open_run

ROOT = Path(__file__).resolve().parents[2]
LIMIT = ("--stage-timeout", "4")
over = threading.Event()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    yield Runs(tmp_path_factory.mktemp("hanging"))
    over.set()  # or the threads of this module would run beside every later test


def spins(sound: Any, given: Any) -> Any:
    while not over.is_set():
        pass


def sleeps(sound: Any, given: Any) -> Any:
    over.wait()


def catches(sound: Any, given: Any) -> Any:
    while not over.is_set():
        with contextlib.suppress(BaseException):
            time.sleep(0.1)


@pytest.mark.parametrize(
    ("member", "act", "stage", "line"),
    [
        ("verify", spins, "verify", "in spins"),
        ("draft", sleeps, "draft", "over.wait()"),
        ("kv_rows", catches, "prefill", "time.sleep(0.1)"),
        ("begin", sleeps, "prefill", "over.wait()"),
    ],
)
def test_what_does_not_end_is_named_with_the_place_where_it_was(
    runs: Runs, member: str, act: Any, stage: str, line: str
) -> None:
    ended = runs.misbehaving(member, act, *LIMIT, from_call=2 if member == "verify" else 1)
    require_found(ended, stage)
    assert ended.first["rule"] == "RUN-STAGE-TIMEOUT"
    assert any("test_stage_timeout.py" in each and line in each for each in ended.first["frames"])
    assert "did not end within 4 s" in ended.first["message"]


def test_a_free_run_ends_too(runs: Runs) -> None:
    ended = runs.misbehaving("tensorize", sleeps, *LIMIT, "--lockstep", "free")
    require_found(ended, "tensorize")
    assert ended.first["rule"] == "RUN-STAGE-TIMEOUT"


def test_a_sound_port_under_a_limit_is_judged_as_without(runs: Runs) -> None:
    ended, plain = runs.diff("--stage-timeout", "500", "--watch-indices"), runs.diff("--watch-indices")
    require_orderly(ended)
    for key in ("verdict", "emitted_token_ids", "invariants", "coverage", "not_checked"):
        assert ended.summary[key] == plain.summary[key]


def test_what_a_stage_raises_under_a_limit_is_its_own_finding(runs: Runs) -> None:
    def act(sound: Any, given: Any) -> Any:
        raise KeyboardInterrupt

    require_found(runs.misbehaving("commit", act, *LIMIT), "commit", frame="raise KeyboardInterrupt")


def test_state_of_a_thread_is_that_of_all_stages(runs: Runs) -> None:
    """Gradients are switched for a thread: what the first call set, the next one must find."""
    seen = []

    def act(sound: Any, given: Any) -> Any:
        seen.append(torch.is_grad_enabled())
        made = sound(*given)
        torch.set_grad_enabled(False)
        return made

    assert runs.misbehaving("accept", act, "--stage-timeout", "500").code == 0
    assert seen == [True] + [False] * (len(seen) - 1)


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_a_limit_that_is_none_is_a_usage_error(runs: Runs, seconds: str) -> None:
    assert runs.diff("--stage-timeout", seconds).code == 2


PORT = """
import itertools, os, sys, threading, time
from dataclasses import replace
from tests.lockstep import hostile_ports as ports

def spoiled(act):
    def factory(*given, **named):
        return ports.spoiled(ports.factory(*given, **named), ports.Placed("verify", act, 2))
    return factory

def locks(sound, given):
    sum(itertools.count())  # never lets another thread run

def prints(sound, given):
    print("from python")
    os.write(1, b"from below\\n")
    sys.stdout.close()
    sys.__stdout__.close()
    sys.stderr.close()
    threading.Thread(target=time.sleep, args=(1000,)).start()
    return sound(*given)

locked, printing = spoiled(locks), spoiled(prints)
"""


def in_a_process(runs: Runs, factory: str, *more: str) -> subprocess.CompletedProcess[str]:
    (runs.folder / "port.py").write_text(PORT)
    models = ["--model", runs.folder / "teacher", "--draft", runs.folder / "drafter"]
    argv = ["diff", "--prompt", "prompt.txt", *models, *SHAPE, "--fused", f"port:{factory}", *more]
    return subprocess.run(
        [sys.executable, str(ROOT / "specwb.py"), *map(str, argv)],
        cwd=runs.folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_a_call_that_lets_nothing_else_run_ends_the_process_and_the_journal_names_the_stage(
    runs: Runs,
) -> None:
    done = in_a_process(runs, "locked", *LIMIT, "--out", "locked")
    assert done.returncode == 1
    assert "in locks" in done.stderr
    path = open_run(runs.folder / "locked").path("fused")
    assert [str(each.moment) for each in path.in_progress] == ["0:0:1:verify"]


def test_stdout_holds_the_report_alone_and_survives_a_port_that_closes_it(runs: Runs) -> None:
    import json

    done = in_a_process(runs, "printing", "--format", "json", "--out", "printing")
    assert json.loads(done.stdout)["verdict"] == "ok", done.stderr
    assert done.returncode == 0
    assert "from python" in done.stderr
    assert "from below" in done.stderr
