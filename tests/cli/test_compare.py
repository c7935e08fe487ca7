"""`specwb diff RUN_A RUN_B`: the first difference of two recordings, or that nothing was compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from costs.long_run import write_long_run
from tracing.recorder import open_trace
from workbench.cli.run import run_command

TRACES = Path(__file__).resolve().parents[2] / "traces"


def compared(capsys: pytest.CaptureFixture[str], *runs: Path) -> tuple[int, dict[str, object]]:
    code = run_command(["diff", *map(str, runs), "--format", "json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_run_is_the_same_as_itself(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = compared(capsys, TRACES / "clean", TRACES / "clean")
    assert code == 0
    assert said["steps"]
    assert said["first_divergence"] is None


def test_the_first_difference_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = compared(capsys, TRACES / "clean", TRACES / "position-off-by-one")
    first = said["first_divergence"]
    assert code == 1
    assert isinstance(first, dict)
    assert (first["stage"], first["column"]) == ("tensorize", "position_ids")


def test_empty_runs_compare_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        with open_trace(tmp_path / name):
            pass
    assert compared(capsys, tmp_path / "a", tmp_path / "b")[0] == 4


@pytest.mark.parametrize("runs", [[], ["one"]])
def test_one_run_is_not_enough(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["diff", *runs]) == 2
    assert "two runs to compare" in capsys.readouterr().err


def test_a_run_that_goes_on_after_the_other_has_ended_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keys that are stored alike are taken over from the other run, but never those of its last batch."""
    write_long_run(tmp_path / "short", 64)
    write_long_run(tmp_path / "long", 130)
    for one, other in (("short", "long"), ("long", "short")):
        code, said = compared(capsys, tmp_path / one, tmp_path / other)
        assert (code, said["steps"], said["turns_differing"]) == (1, 64, 2)


@pytest.mark.parametrize("code", [2, 4])
def test_a_run_that_is_not_whole_is_never_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: int
) -> None:
    """Two copies with the same damaged batch compared equal in what was left of them."""
    write_long_run(tmp_path / "run", 200)
    file = tmp_path / "run" / "fused.arrows"
    data = bytearray(file.read_bytes())
    if code == 2:
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        run = tmp_path / "run"
    else:
        run = TRACES / "truncated"
    answer, said = compared(capsys, run, run)
    assert answer == code
    assert said["problems"]
    assert not said["same"]


def test_columns_above_the_level_of_one_run_are_no_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for level in ("basic", "full"):
        with (
            open_trace(tmp_path / level, level=level) as trace,
            trace.step(prompt_id=0, turn=0, step=0) as step,
        ):
            step.record(committed_len=3, token_ids=[5, 6], kv_digest_before=7, emitted_token_ids=[6])
    exit_code, answer = compared(capsys, tmp_path / "basic", tmp_path / "full")
    assert (exit_code, answer["same"]) == (0, True)
    assert "kv_digest_before" in str(answer["not_compared"])


def test_a_null_against_a_value_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, offsets in (("one", [[1, 2], [None, None]]), ("other", [[1, 2], [0, 0]])):
        with (
            open_trace(tmp_path / name, level="full") as trace,
            trace.step(prompt_id=0, turn=0, step=0) as step,
        ):
            hidden = [[each is None for each in row] for row in offsets]
            values = [[each or 0 for each in row] for row in offsets]
            step.record(
                committed_len=3,
                token_ids=[5, 6],
                emitted_token_ids=[6],
                draft_top1_offsets=np.ma.array(values, mask=hidden, dtype=np.int32),
            )
    exit_code, answer = compared(capsys, tmp_path / "one", tmp_path / "other")
    assert exit_code == 1
    assert "draft_top1_offsets" in str(answer["first_divergence"])
