"""Runs made from runs: repaired, cut out, merged, exported; whole themselves and equal where they must be."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.tracing.conftest import record_step
from tracing.copying import migrate_run, repair_run, slice_run
from tracing.errors import TraceError, UsageError
from tracing.export import export_run
from tracing.finding import Finding
from tracing.integrity import verify_run
from tracing.merging import merge_runs
from tracing.moment import Moment
from tracing.origins import origins_of
from tracing.reader import open_run
from tracing.recorder import RunWriter


def write_rank(folder: Path, prompts: list[int], num_steps: int = 3) -> Path:
    with RunWriter(folder, {"engine": folder.name}, token_bytes=lambda token_id: b"t%d" % token_id) as run:
        trace = run.path("fused", lacks=["slots"])
        for prompt_id in prompts:
            for step in range(num_steps):
                with trace.step(prompt_id=prompt_id, step=step) as recorded:
                    recorded.record(
                        parents=[0, 0], token_ids=[prompt_id, step], committed_len=100 * prompt_id + step
                    )
            run.add_finding(
                Finding("numeric", "fused", Moment(prompt_id, 0, 1, "verify"), "logits", fused=float("nan"))
            )
        run.save_bulk(Moment(prompts[0], 0, 1, "verify"), "logits", np.arange(3.0))
    return folder


def test_a_killed_run_is_repaired_with_the_stage_that_never_returned(tmp_path: Path) -> None:
    with RunWriter(
        tmp_path / "live", {"seeds": {"a": 1}}, token_bytes=lambda token_id: b"%d" % token_id
    ) as run:
        trace = run.path("fused", lacks=["slots"], level="full")
        for step in range(70):
            record_step(trace, step)
        with trace.step(step=70) as step:
            step.record(parents=[0, 0])
            step.about_to_run("verify", position_ids=[9, 10], draft_logprobs=[0.0, float("-inf")])
            shutil.copytree(tmp_path / "live", tmp_path / "killed", ignore=shutil.ignore_patterns("lock"))
    before = repair_run(tmp_path / "killed", tmp_path / "repaired")
    assert before.state == "truncated"
    repaired, killed = open_run(tmp_path / "repaired"), open_run(tmp_path / "killed")
    assert verify_run(tmp_path / "repaired").is_whole
    assert (repaired.status, repaired.manifest["seeds"]) == ("interrupted", {"a": 1})
    (origin,) = origins_of(repaired.manifest)
    assert (origin.how, origin.state, origin.status, origin.was_closed) == (
        "repair",
        "truncated",
        "running",
        False,
    )
    assert [(path.rows, path.lost) for path in origin.paths] == [(70, 0)]
    (in_progress,) = repaired.manifest["in_progress"]["fused"]
    assert in_progress["moment"] == "0:0:70:verify"
    assert in_progress["inputs"] == {"position_ids": [9, 10], "draft_logprobs": [0.0, "-inf"]}
    assert repaired.path("fused").columns().to_pylist() == killed.path("fused").columns().to_pylist()
    assert repaired.path("fused").entry["lacks"] == ["slots"]
    assert repaired.vocabulary == killed.vocabulary


def test_a_corrupt_run_is_repaired_to_what_is_left_and_says_so(small_run: Path, tmp_path: Path) -> None:
    path = small_run / "fused.arrows"
    data = bytearray(path.read_bytes())
    data[open_run(small_run).path("fused").stream.batches[0].stop - 30] ^= 1
    path.write_bytes(data)
    with pytest.raises(TraceError, match="repair it first"):
        slice_run(small_run, tmp_path / "part", Moment(0), Moment(9))
    repair_run(small_run, tmp_path / "repaired")
    health = verify_run(tmp_path / "repaired")
    assert (health.state, health.num_steps) == ("complete", {"fused": 0, "reference": 3})
    (origin,) = origins_of(open_run(tmp_path / "repaired").manifest)
    assert "checksum" in origin.damage[0]
    assert [(path.path, path.rows, path.lost) for path in origin.paths] == [
        ("fused", 0, 3),
        ("reference", 3, 0),
    ]


def test_a_slice_holds_the_steps_between_and_their_findings(tmp_path: Path) -> None:
    folder = write_rank(tmp_path / "run", [0, 1, 2])
    assert slice_run(folder, tmp_path / "part", Moment(0, 0, 2), Moment(1, 0, 1)) == 3
    part = open_run(tmp_path / "part")
    assert part.path("fused").keys().tolist() == [[0, 0, 2], [1, 0, 0], [1, 0, 1]]
    assert [finding.moment.prompt_id for finding in part.findings] == [1]
    assert part.manifest["bulk"] == []
    assert verify_run(tmp_path / "part").is_whole
    with pytest.raises(UsageError, match="has no step from"):
        slice_run(folder, tmp_path / "none", Moment(7), Moment(9))
    assert not (tmp_path / "none").exists()


def test_ranks_merge_into_one_sorted_run(tmp_path: Path) -> None:
    folders = [write_rank(tmp_path / "rank1", [5, 1, 3], 30), write_rank(tmp_path / "rank0", [4, 0], 30)]
    assert merge_runs(folders, tmp_path / "all") == 150
    merged = open_run(tmp_path / "all")
    keys = merged.path("fused").keys().tolist()
    assert keys == sorted(keys)
    assert merged.path("fused").columns(["committed_len"]).column(0).to_pylist() == [
        100 * prompt_id + step for prompt_id in (0, 1, 3, 4, 5) for step in range(30)
    ]
    assert [finding.moment.prompt_id for finding in merged.findings] == [0, 1, 3, 4, 5]
    assert [origin.engine for origin in origins_of(merged.manifest)] == ["rank1", "rank0"]
    assert merged.bulk(Moment(4, 0, 1, "verify"), "logits").tolist() == [0.0, 1.0, 2.0]
    assert merged.vocabulary[29] == b"t29"
    assert all(batch.num_rows <= 64 for batch in merged.path("fused").batches())
    assert verify_run(tmp_path / "all").is_whole


def test_interleaved_ranks_merge_too(tmp_path: Path) -> None:
    folders = []
    for rank in range(3):
        with RunWriter(tmp_path / str(rank)) as run:
            trace = run.path("fused")
            for step in range(rank, 90, 3):
                with trace.step(step=step) as recorded:
                    recorded.record(committed_len=step)
        folders.append(tmp_path / str(rank))
    assert merge_runs(folders, tmp_path / "all") == 90
    assert open_run(tmp_path / "all").path("fused").columns(["step"]).column(0).to_pylist() == list(range(90))


def test_what_cannot_be_merged_is_refused_with_the_reason(tmp_path: Path) -> None:
    first = write_rank(tmp_path / "a", [0])
    with pytest.raises(TraceError, match="step 0:0:0 of path fused is in"):
        merge_runs([first, write_rank(tmp_path / "b", [0])], tmp_path / "out")
    with RunWriter(tmp_path / "c", token_bytes=lambda token_id: b"other") as run:
        record_step(run.path("reference"), 0, token_ids=np.zeros(7, int))
    with pytest.raises(TraceError, match="different tokenizers"):
        merge_runs([first, tmp_path / "c"], tmp_path / "out")
    with pytest.raises(UsageError, match="at least one"):
        merge_runs([], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_opens_as_parquet_with_the_same_rows(small_run: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    written = export_run(small_run, tmp_path / "parquet")
    assert [path.name for path in written] == ["fused.parquet", "reference.parquet"]
    original = open_run(small_run).path("fused").columns()
    exported = pq.read_table(written[0])
    assert exported.to_pylist() == original.to_pylist()
    rank = write_rank(tmp_path / "rank", [0, 1])
    findings = pq.read_table(export_run(rank, tmp_path / "other")[-1])
    assert findings.column("fused").to_pylist() == ["nan", "nan"]


def test_a_current_run_needs_no_migration(small_run: Path, tmp_path: Path) -> None:
    assert migrate_run(small_run, tmp_path / "new") is False
    assert not (tmp_path / "new").exists()


def test_memory_stays_flat_while_a_long_run_is_read_and_copied(tmp_path: Path) -> None:
    """Twice the steps must not cost twice the memory: batches are let go of as they are passed."""
    import pyarrow as pa

    peaks = []
    for num_steps in (200, 600):
        folder = tmp_path / str(num_steps)
        with RunWriter(folder) as run:
            trace = run.path("fused")
            for step in range(num_steps):
                with trace.step(step=step) as recorded:
                    recorded.record(visible=np.eye(60, dtype=bool), target_top_ids=np.ones((60, 8), int))
        peak = 0
        for batch in open_run(folder).path("fused").batches():
            peak = max(peak, pa.default_memory_pool().bytes_allocated())
            assert batch.num_rows
        peaks.append(peak)
    assert peaks[1] < 1.5 * peaks[0]
