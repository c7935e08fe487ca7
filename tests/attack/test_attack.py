"""A thin slice of the attack, and the attack seen to fail: its history, its judgement, its bounds."""

from __future__ import annotations

import ast
import json
import multiprocessing
import os
import sys
from pathlib import Path

import pytest

from attack import damage, history, pool, recording, writers
from attack.__main__ import main, table
from attack.outcome import Outcome, Tally
from attack.parts import PARTS, Part, chosen
from attack.recording import Plan
from attack.worker import attack
from tracing.errors import UsageError
from tracing.journal import Journal

SLICE = {"journals": 60, "findings": 60, "manifests": 30, "streams": 12, "headers": 30, "configs": 30}
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # fork in a process that may have threads


@forks
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_slice_of_every_part_is_clean(part: Part, tmp_path: Path) -> None:
    tally = Tally()
    for index in range(1_000_000, 1_000_000 + SLICE.get(part.name, 3)):
        attack(part, index, 1, tmp_path, tally)
    assert tally.notes == []
    assert tally.is_clean


def test_the_history_shares_no_code_with_what_it_judges() -> None:
    tree = ast.parse(Path(history.__file__).read_text(encoding="utf-8"))
    imported = {
        (node.module or "").partition(".")[0] if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imported - set(sys.stdlib_module_names) == {"pyarrow"}


def recorded(folder: Path, **changed: int) -> bytes:
    acks: list[bytes] = []
    recording.record(folder / "run", Plan(**{"steps": 12, "seal_every": 5, **changed}), acks.append)
    return b"".join(acks)


def test_the_history_sees_what_is_lost_doubled_and_changed(tmp_path: Path) -> None:
    acks = recorded(tmp_path)
    run = tmp_path / "run"
    assert history.compare(run, ["fused"], acks)[:2] == ([], [])
    more = acks + history.ACK.pack(history.STEP, 0, 99, 0) + history.ACK.pack(history.FINDING, 0, 99, 0)
    assert [sentence.rpartition(" and ")[0] for sentence in history.compare(run, ["fused"], more)[0]] == [
        "step 0:0:99 was acknowledged",
        "the finding of step 99 was acknowledged",
    ]
    data = (run / "fused.arrows").read_bytes()
    (run / "fused.arrows").write_bytes(data[: len(data) // 2])
    assert history.compare(run, ["fused"], acks)[0]


@forks
def test_a_writer_that_acknowledges_too_early_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Journal, "append", lambda *_: None)
    found = [writers.kill(index, 0, folder_of(tmp_path, index)) for index in range(4)]
    assert sum(outcome.lost for outcome in found) > 3


def folder_of(folder: Path, index: int) -> Path:
    own = folder / str(index)
    own.mkdir()
    return own


def test_damage_that_nobody_names_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(damage, "is_worse", lambda *_: False)
    found = [damage.flip(index, 0, tmp_path / "cases") for index in range(5)]
    assert sum(outcome.unnoticed for outcome in found) >= 4


def greedy(index: int, seed: int, folder: Path) -> Outcome:
    """Take more memory than is allowed."""
    del seed, folder
    assert len(bytearray(b"x") * ((600 << 20) if index else 1))
    return Outcome()


def broken(index: int, seed: int, folder: Path) -> Outcome:
    """Fail as no reader may."""
    raise KeyError(index, seed, folder)


def counted(folder: Path) -> tuple[int, int, int, bool]:
    tally = Tally()
    for case in (greedy, broken):
        attack(Part("own", 1, 1, case, ""), 1, 0, folder, tally)
    return tally.tried, tally.over_memory, tally.internal, tally.is_clean


@forks
def test_memory_and_errors_are_counted(tmp_path: Path) -> None:
    """In a process of its own: this one may have taken more before, and a peak never falls."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(counted, (tmp_path,)) == (2, 1, 1, False)


def test_a_run_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def attacked(chunk: pool.Chunk) -> Tally:
        calls.append(chunk.name)
        return Tally(tried=chunk.stop - chunk.start, longest=1.0)

    monkeypatch.setattr(pool, "attacked", attacked)
    arguments = {"state": tmp_path / "state", "jobs": 2, "say": lambda _: None}
    first = pool.run(chosen(["kills", "flips"]), 0.2, 7, **arguments)
    again = pool.run(chosen(["kills", "flips"]), 0.2, 7, **arguments)
    assert first == again
    assert (first["kills"].tried, first["flips"].tried, len(calls)) == (200, 2000, 4)
    lines = table(first)
    assert len({line.count("|") for line in lines}) == 1
    assert lines[-1].startswith("| all | 2,200 | 0 |")


def test_a_process_that_dies_is_no_clean_chunk() -> None:
    part = Part("no such part", 1, 1, broken, "")
    tally = pool.attacked(pool.Chunk(part, 0, 0, 1))
    assert not tally.is_clean
    assert "the process ended" in tally.notes[0]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = str(tmp_path / "state")
    assert main(["headers", "--scale", "0.0001", "--state", state]) == 0
    assert "| headers: " in capsys.readouterr().out
    assert json.loads(Path(state).read_text(encoding="utf-8"))["tally"]["tried"] == 10
    assert main(["nothing", "--state", state]) == 2
    with pytest.raises(UsageError, match="a part should be one of kills"):
        chosen(["nothing"])
