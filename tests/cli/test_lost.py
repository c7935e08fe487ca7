"""What was lost of a run is told by every command that inspects it, not by `check` alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import Specwb
from tests.cli.recorded import LIMITS, SETTINGS, legal_rows, record, write_run
from tracing.reader import open_run
from tracing.recorder import RunWriter

FACTS = {"settings": SETTINGS, "limits": LIMITS}


def torn(folder: Path) -> Path:
    """Return a run of 100 steps whose second batch is cut."""
    run = write_run(folder, 100)
    stream = run / "fused.arrows"
    stream.write_bytes(stream.read_bytes()[: open_run(run).path("fused").stream.batches[1].stop - 50])
    return run


def test_repair_verify_and_info_say_what_was_lost(specwb: Specwb, tmp_path: Path) -> None:
    repaired = tmp_path / "repaired"
    done = specwb("trace", "repair", torn(tmp_path / "run"), repaired)
    sentence = "fused: 36 rows, 64 came along"
    assert sentence in done.err
    assert sentence in specwb("trace", "verify", repaired).out
    assert sentence in specwb("trace", "info", repaired).out
    verified: dict[str, Any] = json.loads(specwb("trace", "verify", repaired, "--format", "json").out)[0]
    known: dict[str, Any] = json.loads(specwb("trace", "info", repaired, "--format", "json").out)
    for facts in (verified, known):
        assert any(sentence in line for line in facts["lost"])
        assert facts["origins"][0]["paths"][0]["lost"] == 36


def test_repair_answers_as_data(specwb: Specwb, tmp_path: Path) -> None:
    done = specwb("trace", "repair", torn(tmp_path / "run"), tmp_path / "new", "--format", "json")
    facts = json.loads(done.out)
    assert (facts["steps"], facts["from"]["state"]) == ({"fused": 64}, "torn")
    assert facts["origins"][0]["how"] == "repair"


def test_a_hole_is_told_by_its_place(specwb: Specwb, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 1000, num_nodes=4)
    hole = open_run(run).path("fused").moment(256).place
    data = bytearray((run / "fused.arrows").read_bytes())
    data[open_run(run).path("fused").stream.batches[3].stop - 30] ^= 1
    (run / "fused.arrows").write_bytes(data)
    err = specwb("trace", "repair", run, tmp_path / "repaired").err
    assert f"64 rows, 936 came along, before {':'.join(map(str, hole))}" in err


def test_a_run_that_has_lost_nothing_says_nothing(specwb: Specwb, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 6)
    for command in ("verify", "info"):
        assert "lost " not in specwb("trace", command, run).out
    assert json.loads(specwb("trace", "verify", run, "--format", "json").out)[0]["lost"] == []
    specwb("trace", "repair", run, tmp_path / "repaired")
    assert "lost:" not in specwb("trace", "verify", tmp_path / "repaired").out


@pytest.mark.parametrize("origins", ["x", [{"how": "y"}], [3]])
def test_origins_that_are_none_are_one_sentence(specwb: Specwb, tmp_path: Path, origins: object) -> None:
    run = write_run(tmp_path / "run", 2, manifest=FACTS | {"origins": origins})
    for command in ("verify", "info"):
        assert "not known: origins of the manifest" in specwb("trace", command, run).out


def test_parquet_says_what_was_lost(specwb: Specwb, tmp_path: Path) -> None:
    specwb("trace", "repair", torn(tmp_path / "run"), tmp_path / "repaired")
    specwb("trace", "export", tmp_path / "repaired", "--parquet", tmp_path / "tables")
    metadata = pq.read_schema(tmp_path / "tables" / "fused.parquet").metadata
    origins = json.loads(metadata[b"specwb"])["origins"]
    assert [(each["how"], each["paths"][0]["lost"]) for each in origins] == [("repair", 36)]


def test_a_killed_run_of_the_older_format_stays_unclosed_when_it_is_migrated(
    specwb: Specwb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        for module in ("manifest", "stream_file"):
            older.setattr(f"tracing.{module}.FORMAT_VERSION", "1.0")
        with RunWriter(tmp_path / "live", FACTS) as writer:
            record(writer.path("fused"), legal_rows(70))
            shutil.copytree(tmp_path / "live", tmp_path / "killed", ignore=shutil.ignore_patterns("lock"))
    for name in ("live", "killed"):
        assert specwb("trace", "migrate", tmp_path / name).exit_code == 0
        assert open_run(tmp_path / f"{name}-migrated").manifest["format"] == "1.1"
    assert specwb("check", tmp_path / "live-migrated").exit_code == 0
    done = specwb("check", tmp_path / "killed-migrated")
    assert (done.exit_code, "the run was never closed whole" in done.out) == (4, True)
    assert "it was never closed" in specwb("trace", "verify", tmp_path / "killed-migrated").out
