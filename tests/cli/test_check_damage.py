"""`specwb check` of a trace that is damaged, empty, or was never closed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Specwb
from tests.cli.recorded import leak, write_run
from tracing.recorder import RunWriter

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("argument", ["nowhere", "plain"])
def test_what_is_no_run_is_said(specwb: Specwb, tmp_path: Path, argument: str) -> None:
    (tmp_path / "plain").mkdir()
    answer = specwb("check", tmp_path / argument)
    assert answer.exit_code == 2
    assert "is no recorded run" in answer.err


def test_an_empty_run_is_inconclusive(specwb: Specwb, tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run") as writer:
        writer.path("fused")
    answer = specwb("check", tmp_path / "run")
    assert answer.exit_code == 4
    assert "no step was recorded" in answer.out


def test_nothing_applied_is_inconclusive(specwb: Specwb, tmp_path: Path) -> None:
    """A recorder that keeps only times gives no rule anything to look at."""
    with RunWriter(tmp_path / "run") as writer:
        trace = writer.path("fused")
        with trace.step(prompt_id=0, turn=0, step=0) as step:
            step.record(verify_ns=5)
    answer = specwb("check", tmp_path / "run", "--ignore", "ROW002")
    assert answer.exit_code == 4
    assert "no invariant applied" in answer.out


def test_a_cut_file_of_a_closed_run_is_damage(specwb: Specwb, tmp_path: Path) -> None:
    """The readable part is checked, and its findings are shown, but the exit code is 2."""
    run = write_run(tmp_path / "run", 200, change=leak)
    stream = run / "fused.arrows"
    stream.write_bytes(stream.read_bytes()[: stream.stat().st_size * 2 // 3])
    answer = specwb("check", run)
    assert answer.exit_code == 2
    assert "torn" in answer.out
    assert "0:0:2:verify:11 MASK001" in answer.out


def test_steps_around_a_damaged_batch_are_no_neighbours(specwb: Specwb, tmp_path: Path) -> None:
    """A lost batch must not look like an engine that skipped 64 steps."""
    run = write_run(tmp_path / "run", 192, num_nodes=6)
    stream = run / "fused.arrows"
    data = bytearray(stream.read_bytes())
    data[len(data) // 2] ^= 1
    stream.write_bytes(bytes(data))
    answer = specwb("check", run)
    assert answer.exit_code == 2
    assert "corrupt" in answer.out
    assert "128 steps" in answer.out
    assert "structural" not in answer.out


def test_a_run_that_was_never_closed_is_inconclusive(specwb: Specwb, tmp_path: Path) -> None:
    """What `kill -9` leaves: everything finished is there, checked, and not called fine."""
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.cli.recorded import legal_rows\nfrom tracing.recorder import RunWriter\n"
        "trace = RunWriter(sys.argv[2]).path('fused')\n"
        "for row in legal_rows(3):\n"
        "    values = {name: value for name, value in row.items() if value is not None}\n"
        "    keys = {name: values.pop(name) for name in ('prompt_id', 'turn', 'step')}\n"
        "    step = trace.step(**keys).__enter__()\n"
        "    if keys['step'] == 2: step.about_to_run('verify', {}); os._exit(9)\n"
        "    step.record(**values); step.__exit__(None, None, None)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(ROOT), str(tmp_path / "run")], check=False)
    answer = specwb("check", tmp_path / "run")
    assert answer.exit_code == 4
    assert "the run was never closed whole" in answer.out
    assert "2 steps" in answer.out
    assert "unfinished 0:0:2:verify" in answer.out


def test_several_runs_give_the_worst_exit_code(specwb: Specwb, tmp_path: Path) -> None:
    good, bad = write_run(tmp_path / "good"), write_run(tmp_path / "bad", change=leak)
    answer = specwb("check", good, bad)
    assert answer.exit_code == 1
    assert f"{bad} 0:0:2:verify:11 MASK001" in answer.out


def test_one_that_is_no_run_does_not_hide_the_others(specwb: Specwb, tmp_path: Path) -> None:
    bad = write_run(tmp_path / "bad", change=leak)
    answer = specwb("check", tmp_path / "nowhere", bad)
    assert answer.exit_code == 2
    assert "is no recorded run" in answer.out
    assert f"{bad} 0:0:2:verify:11 MASK001" in answer.out


def test_no_flipped_bit_is_called_fine(specwb: Specwb, tmp_path: Path) -> None:
    """Wherever the bit lies (data, framing, schema, end), the answer is 2 and never an internal error."""
    run = write_run(tmp_path / "run", 70, num_nodes=4)
    for name in ("fused.arrows", "manifest.json"):
        whole = (run / name).read_bytes()
        for place in range(7, len(whole), len(whole) // 40):
            data = bytearray(whole)
            data[place] ^= 1 << place % 8
            (run / name).write_bytes(bytes(data))
            assert specwb("check", run).exit_code == 2, (name, place)
        (run / name).write_bytes(whole)
    assert specwb("check", run).exit_code == 0


@pytest.mark.parametrize(
    ("manifest", "sentence"),
    [
        ({"limits": {"vocab_size": "97"}}, "vocab_size of the manifest should be a whole number"),
        ({"limits": {"vocabsize": 97}}, "limits of the manifest should name"),
        ({"settings": [1]}, "settings of the manifest should be a table"),
        ({"limits": {"eos_token_ids": 2}}, "eos_token_ids of the manifest should be a list"),
    ],
)
def test_impossible_limits_are_refused(
    specwb: Specwb, tmp_path: Path, manifest: dict[str, Any], sentence: str
) -> None:
    answer = specwb("check", write_run(tmp_path / "run", manifest=manifest))
    assert answer.exit_code == 2
    assert sentence in answer.err
