"""`specwb trace`: thin commands over `tracing`; what they print, where they write, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import Specwb
from tests.cli.recorded import legal_rows, write_run
from tracing.reader import open_run
from tracing.recorder import RunWriter


def test_info_names_steps_and_columns(specwb: Specwb, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 3)
    facts = json.loads(specwb("trace", "info", run, "--format", "json").out)
    assert facts["paths"][0]["steps"] == 3
    assert "visible" in facts["paths"][0]["columns"]
    assert "draft_ns" not in facts["paths"][0]["columns"]
    assert facts["settings"]["top_k"] == 3
    assert "fused: 3 steps" in specwb("trace", "info", run).out


def test_verify_tells_states_apart(specwb: Specwb, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 100)
    whole = specwb("trace", "verify", run)
    assert (whole.exit_code, whole.out.splitlines()[0]) == (0, f"{run}: complete")
    stream = run / "fused.arrows"
    data = bytearray(stream.read_bytes())
    data[1000] ^= 4
    stream.write_bytes(bytes(data))
    broken = specwb("trace", "verify", run, "--format", "json")
    assert broken.exit_code == specwb("check", run).exit_code == 2
    assert json.loads(broken.out)[0]["state"] == "corrupt"


def test_repair_makes_a_run_that_verifies(specwb: Specwb, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 100)
    stream = run / "fused.arrows"
    stream.write_bytes(stream.read_bytes()[:-500])
    before = stream.read_bytes()
    answer = specwb("trace", "repair", run)
    assert answer.exit_code == 0
    assert "torn" in answer.err
    assert stream.read_bytes() == before
    assert specwb("trace", "verify", tmp_path / "run-repaired").exit_code == 0
    assert specwb("trace", "repair", run).exit_code == 2


def test_merge_sorts_ranks(specwb: Specwb, tmp_path: Path) -> None:
    rows = list(legal_rows(8))
    for rank in (0, 1):
        with RunWriter(tmp_path / f"rank{rank}") as writer:
            trace = writer.path("fused")
            for row in (row for row in rows if row["step"] % 2 == rank):
                values = {name: value for name, value in row.items() if value is not None}
                keys = {name: values.pop(name) for name in ("prompt_id", "turn", "step")}
                with trace.step(**keys) as step:
                    step.record(**values)
    ranks = [tmp_path / "rank1", tmp_path / "rank0"]
    answer = specwb("trace", "merge", *ranks, "--out", tmp_path / "all")
    assert answer.exit_code == 0
    keys = open_run(tmp_path / "all").path("fused").keys().tolist()
    assert keys == sorted(keys)
    assert len(keys) == 8
    assert specwb("check", tmp_path / "all").exit_code == 0
    assert specwb("trace", "merge", *ranks).exit_code == 2


def test_slice_by_moments(specwb: Specwb, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 6)
    answer = specwb("trace", "slice", run, "--first", "0:0:1", "--last", "0:0:2", "--out", tmp_path / "part")
    assert answer.exit_code == 0
    assert open_run(tmp_path / "part").path("fused").keys().tolist() == [[0, 0, 1], [0, 0, 2]]
    assert "no step from 7:0:0" in specwb("trace", "slice", run, "--first", "7:0:0").err
    assert "moment should be" in specwb("trace", "slice", run, "--first", "x").err


def test_export_opens_elsewhere(specwb: Specwb, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 6)
    answer = specwb("trace", "export", run, "--parquet", tmp_path / "tables")
    assert answer.out.split() == [str(tmp_path / "tables" / "fused.parquet")]
    assert pq.read_table(tmp_path / "tables" / "fused.parquet").num_rows == 6
    again = specwb("trace", "export", run, "--parquet", tmp_path / "tables")
    assert again.exit_code == 2
    assert "is there already, and is not overwritten" in again.err


def test_export_as_json_lines(specwb: Specwb, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 3)
    files = json.loads(specwb("trace", "export", run, tmp_path / "out", "--jsonl", "--format", "json").out)[
        "files"
    ]
    rows = [json.loads(line) for line in Path(files[0]).read_text().splitlines()]
    assert [(row["prompt_id"], row["turn"], row["step"]) for row in rows] == [(0, 0, 0), (0, 0, 1), (0, 0, 2)]
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["settings"]["top_k"] == 3


def test_a_run_that_was_never_closed_is_not_damaged(specwb: Specwb, tmp_path: Path) -> None:
    """One exit code for one state: check and verify agree."""
    run = Path(__file__).parents[2] / "traces" / "truncated"
    assert specwb("trace", "verify", run).exit_code == specwb("check", run).exit_code == 4


def test_migrate_of_the_current_format_writes_nothing(specwb: Specwb, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    answer = specwb("trace", "migrate", run)
    assert answer.exit_code == 0
    assert "already has the current format" in answer.out
    assert not (tmp_path / "run-migrated").exists()


@pytest.mark.parametrize("name", ["info", "verify", "repair", "migrate"])
def test_what_is_no_run_is_refused(specwb: Specwb, tmp_path: Path, name: str) -> None:
    answer = specwb("trace", name, tmp_path / "nothing")
    assert answer.exit_code == 2
    assert "no recorded run" in answer.err


def test_two_new_folders_are_refused(specwb: Specwb, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert specwb("trace", "repair", run, tmp_path / "a", "--out", tmp_path / "b").exit_code == 2
