"""What the recorder accepts, refuses and keeps as evidence."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tracing.conftest import record_step, step_columns
from tracing.columns import COLUMNS
from tracing.errors import (
    EnvironmentProblemError,
    TraceError,
    UnknownColumnError,
    UsageError,
)
from tracing.finding import Finding
from tracing.integrity import verify_run
from tracing.moment import Moment
from tracing.reader import open_run
from tracing.recorder import NullRecorder, RunWriter, open_trace


def test_the_recorder_imports_neither_torch_nor_parquet() -> None:
    code = (
        "import sys, tracing.recorder, tracing.reader, tracing.integrity\n"
        "heavy = ('torch', 'pyarrow.parquet', 'pyarrow.dataset', 'pandas')\n"
        "print(*[name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_levels_leave_columns_out(tmp_path: Path) -> None:
    kept = {}
    for level in ("basic", "digest", "full"):
        with open_trace(tmp_path / level, level=level) as trace:
            record_step(trace, 0)
            assert trace.wants("kv_row_digests") is (level != "basic")
        row = open_run(tmp_path / level).path("fused").step(0)
        kept[level] = {name for name, value in row.items() if value is not None}
    assert kept["basic"] < kept["digest"] < kept["full"]
    full = {"draft_top1_offsets", "index_sites", "expert_ids", "expert_loads"}
    assert kept["full"] - kept["digest"] == full
    with pytest.raises(UsageError, match="level should be one of"):
        RunWriter(tmp_path / "no").path("fused", level="all")


def test_an_exception_in_the_host_ends_the_step_as_an_incomplete_row(tmp_path: Path) -> None:
    def crashing_host() -> None:
        with open_trace(tmp_path / "run") as trace, trace.step(step=0) as step:
            step.record(parents=[0, 0])
            raise RuntimeError("aicore timeout")

    with pytest.raises(RuntimeError):
        crashing_host()
    run = open_run(tmp_path / "run")
    assert run.status == "failed"
    assert run.path("fused").step(0)["incomplete"] == "RuntimeError: aicore timeout"
    assert run.path("fused").entry["num_incomplete"] == 1


def test_a_null_recorder_keeps_nothing_and_fits_everywhere(tmp_path: Path) -> None:
    recorder = NullRecorder()
    record_step(recorder, 0)
    recorder.seal()
    assert not recorder.wants("parents")
    assert recorder.num_steps == 0


def test_warn_mode_without_a_folder_records_nothing_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblemError), open_trace(tmp_path / "file" / "run"):
        pass
    with caplog.at_level(logging.WARNING), open_trace(tmp_path / "file" / "run", on_error="warn") as trace:
        record_step(trace, 0)
    assert "nothing is recorded" in caplog.text


def test_misuse_of_the_run_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run") as run:
        trace = run.path("fused", lacks=["slots"])
        for call, sentence in [
            (lambda: run.path("fused"), "is being recorded already"),
            (lambda: run.path("../evil"), "a path's name should be"),
            (lambda: run.path("vocabulary"), "a path's name should be"),
            (lambda: run.update(status="fine"), "written by the recorder itself"),
            (lambda: run.update(seeds={"a": float("nan")}), "should be plain JSON"),
            (lambda: run.save_bulk(Moment(0), "a/b", np.ones(2)), "a bulk tensor's name should be"),
            (lambda: run.save_bulk(Moment(0), "a", np.array(["x"])), "should hold numbers"),
            (lambda: run.close("running"), "status should be one of"),
            (lambda: trace.step(step=0).about_to_run("think"), "stage should be one of"),
            (lambda: trace.step(step=0).record(step=3), "is given to step"),
            (lambda: RunWriter(tmp_path / "x", codec="gzip"), "codec should be zstd or lz4"),
        ]:
            with pytest.raises((UsageError, TraceError), match=sentence):
                call()
        with pytest.raises(UnknownColumnError):
            run.path("other", lacks=["slotz"])
        run.update(seeds={})
        with pytest.raises(UsageError, match="on_error should be"):
            run.path("third", on_error="ignore")
    with pytest.raises(TraceError, match="is closed"), trace.step(step=9):
        pass


def test_a_step_that_has_ended_takes_nothing_more(tmp_path: Path) -> None:
    with open_trace(tmp_path / "run") as trace:
        with trace.step(step=0) as step:
            step.record(committed_len=1)
        with pytest.raises(UsageError, match="the step has ended"):
            step.record(committed_len=2)
    assert open_run(tmp_path / "run").path("fused").step(0)["committed_len"] == 1


def test_a_launch_costs_one_write_and_a_record_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a journal that is written per column, or buffered past the launch."""
    writes: list[int] = []

    def pwrite(handle: int, data: Any, offset: int) -> int:
        writes.append(len(data))
        return real(handle, data, offset)

    with open_trace(tmp_path / "run") as trace, trace.step(step=0) as step:
        real = os.pwrite
        monkeypatch.setattr(os, "pwrite", pwrite)
        step.record(**{name: value for name, value in step_columns(0).items() if name != "visible"})
        assert writes == []
        step.about_to_run(
            "verify", visible=step_columns(0)["visible"], token_ids=step_columns(0)["token_ids"]
        )
        assert len(writes) == 1
        monkeypatch.undo()


def test_both_codecs_are_read(tmp_path: Path) -> None:
    for codec in ("zstd", "lz4"):
        with RunWriter(tmp_path / codec, codec=codec) as run:
            record_step(run.path("fused"), 0)
        assert open_run(tmp_path / codec).path("fused").step(0)["final_token_id"] is not None


def test_steps_may_be_recorded_from_several_threads(tmp_path: Path) -> None:
    """A server records requests side by side; rows must neither mix nor vanish."""

    def record_prompt(prompt_id: int) -> None:
        for number in range(50):
            with trace.step(prompt_id=prompt_id, step=number) as step:
                step.about_to_run("verify", committed_len=number)
                step.record(committed_len=number, token_ids=[prompt_id, number])
            run.add_finding(Finding("ok", "unknown", Moment(prompt_id, 0, number, "verify"), ""))

    with RunWriter(tmp_path / "run", token_bytes=lambda token_id: b"%d" % token_id) as run:
        trace = run.path("fused")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(record_prompt, range(4)))
    opened = open_run(tmp_path / "run")
    assert verify_run(tmp_path / "run").is_whole
    assert len(opened.findings) == 200
    rows = list(opened.path("fused"))
    assert sorted((row["prompt_id"], row["step"]) for row in rows) == [
        (p, s) for p in range(4) for s in range(50)
    ]
    assert all(row["token_ids"].tolist() == [row["prompt_id"], row["step"]] for row in rows)


def test_findings_and_bulk_tensors_come_back(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    finding = Finding(
        "structural",
        "fused",
        Moment(0, 1, 2, "accept"),
        "path_indices",
        fused=float("inf"),
        message='"b"\n',
    )
    logits = torch.randn(3, 5).to(torch.bfloat16)
    where = Moment(0, 1, 2, "verify", 3)
    with RunWriter(tmp_path / "run") as run:
        run.add_finding(finding)
        assert run.save_bulk(where, "logits", logits).exists()
        run.save_bulk(where, "logits", logits)
        run.update(verdict="structural")
    opened = open_run(tmp_path / "run")
    assert opened.findings == [Finding.from_json(finding.as_json())]
    assert opened.manifest["verdict"] == "structural"
    (entry,) = opened.manifest["bulk"]
    assert (entry["dtype"], entry["shape"]) == ("bfloat16", [3, 5])
    np.testing.assert_array_equal(opened.bulk(where, "logits"), logits.float().numpy())
    np.testing.assert_array_equal(np.load(tmp_path / "run" / entry["file"]), logits.float().numpy())
    with pytest.raises(TraceError, match="no bulk tensor"):
        opened.bulk(where, "keys")


def test_every_column_of_the_table_is_recorded_by_the_test_step() -> None:
    """Keeps the round-trip tests honest: a column added to the table must be added to them."""
    given = set(step_columns(0)) | {"prompt_id", "turn", "step"}
    given |= {"launch_refused", "incomplete", "prefill_ns", "row_kind"}
    assert given == {column.name for column in COLUMNS}
