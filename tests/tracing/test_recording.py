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
import pyarrow as pa
import pytest

from tests.tracing.conftest import record_step, step_columns
from tracing.columns import COLUMNS
from tracing.errors import (
    EnvironmentProblemError,
    ShapeMismatchError,
    TraceError,
    UnknownColumnError,
    UsageError,
)
from tracing.finding import Finding
from tracing.integrity import verify_run
from tracing.moment import Moment
from tracing.reader import open_run
from tracing.recorder import NullRecorder, RunWriter, open_trace


def recorded(folder: Path, *calls: dict[str, Any], level: str = "full") -> dict[str, Any]:
    """Record one step with these calls and read it back."""
    with open_trace(folder / "run", level=level) as trace, trace.step(step=0) as step:
        for call in calls:
            step.record(**call)
    return open_run(folder / "run").path("fused").step(0)


class WithArray:
    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.arange(3)


class WithDlpack:
    def __init__(self) -> None:
        self.array = np.arange(3)

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


@pytest.mark.parametrize(
    "value",
    [
        [0, 1, 2],
        (0, 1, 2),
        range(3),
        np.arange(3, dtype=np.int8),
        np.arange(3, dtype=np.uint64),
        np.arange(6)[::2] // 2,
        np.ma.MaskedArray(np.arange(3)),
        pa.array([0, 1, 2]),
        pa.chunked_array([[0, 1], [2]]),
        pa.scalar([0, 1, 2]),
        WithArray(),
        WithDlpack(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_integers_are_accepted_in_every_form(tmp_path: Path, value: Any) -> None:
    row = recorded(tmp_path, {"parents": value})
    assert row["parents"].dtype == np.int32
    assert row["parents"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "value", [[3, None, 5], np.ma.MaskedArray([3, 9, 5], [0, 1, 0]), pa.array([3, None, 5])]
)
def test_missing_elements_become_nulls(tmp_path: Path, value: Any) -> None:
    assert recorded(tmp_path, {"position_ids": value})["position_ids"].tolist() == [3, None, 5]


def test_torch_tensors_are_found_without_importing_torch(tmp_path: Path) -> None:
    """bfloat16 has no numpy form; what comes back must be the same numbers, not rounded again."""
    torch = pytest.importorskip("torch")
    logits = torch.randn(4, 3).to(torch.bfloat16)
    row = recorded(
        tmp_path,
        {"target_top_logits": logits.requires_grad_(), "parents": torch.zeros(4, dtype=torch.int64)},
        {"committed_len": torch.tensor(7), "visible": torch.eye(4, dtype=torch.bool)},
    )
    assert row["target_top_logits"].shape == (4, 3)
    assert torch.equal(torch.from_numpy(row["target_top_logits"].copy()).to(torch.bfloat16), logits)
    np.testing.assert_array_equal(row["target_top_logits"], logits.detach().float().numpy())
    assert row["committed_len"] == 7
    assert row["visible"].sum() == 4


def test_the_recorder_imports_neither_torch_nor_parquet() -> None:
    code = (
        "import sys, tracing.recorder, tracing.reader, tracing.integrity\n"
        "heavy = ('torch', 'pyarrow.parquet', 'pyarrow.dataset', 'pandas')\n"
        "print(*[name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_values_are_copied_when_they_are_recorded(tmp_path: Path) -> None:
    """Engines reuse buffers: the next step's tokens must not appear in this one."""
    buffer = np.arange(3, dtype=np.int32)
    with open_trace(tmp_path / "run") as trace, trace.step(step=0) as step:
        step.record(token_ids=buffer)
        buffer[:] = -1
    assert open_run(tmp_path / "run").path("fused").step(0)["token_ids"].tolist() == [0, 1, 2]


def test_wrong_values_are_evidence_and_are_recorded(tmp_path: Path) -> None:
    row = recorded(
        tmp_path,
        {
            "parents": [-1, 99],
            "visible": np.zeros((2, 2), bool),
            "committed_len": -5,
            "token_ids": [2**31 - 1, -7],
        },
        {
            "draft_logprobs": [float("nan"), float("-inf")],
            "accepted_nodes": [1],
            "emitted_token_ids": [1, 2, 3],
        },
        {"path_indices": [], "context_token_ids": [1, 2], "index_sites": [("a", -9, 2**40, 7)]},
    )
    assert row["parents"].tolist() == [-1, 99]
    assert np.isnan(row["draft_logprobs"][0])
    assert row["draft_logprobs"][1] == -np.inf
    assert row["emitted_token_ids"].tolist() == [
        1,
        2,
        3,
    ]  # one too many for one accepted node: rules judge that
    assert row["index_sites"] == [{"site": "a", "min": -9, "max": 2**40, "bound": 7}]
    assert row["incomplete"] is None


@pytest.mark.parametrize(
    "value", [np.array([0, 2**40, 1]), [0, 2**40, 1], [0, 2**70, 1], np.array([0, 2**63], np.uint64)]
)
def test_a_number_that_the_column_cannot_hold_is_null_and_said(tmp_path: Path, value: Any) -> None:
    """Uninitialised int64 memory is a finding, not a reason to fail, and never silently another number."""
    row = recorded(tmp_path, {"position_ids": value})
    assert row["position_ids"].tolist()[:2] == [0, None]
    assert "position_ids[1] = " in row["incomplete"]
    assert "does not fit int32" in row["incomplete"]


WRONG: list[tuple[dict[str, Any], type[TraceError], str]] = [
    ({"mask": [1]}, UnknownColumnError, "no column 'mask' in the trace schema"),
    ({"parent": [1]}, UnknownColumnError, "did you mean parents"),
    ({"parents": 3}, ShapeMismatchError, "parents should be array-like, got int"),
    ({"parents": [[0, 1]]}, ShapeMismatchError, r"parents should be \[N\], got shape \(1, 2\)"),
    ({"parents": [0.0, 1.0]}, ShapeMismatchError, "parents should have an integer dtype, got float64"),
    ({"parents": [True]}, ShapeMismatchError, "parents should have an integer dtype, got bool"),
    ({"parents": ["a"]}, ShapeMismatchError, "parents should have an integer dtype"),
    ({"parents": [[0], [1, 2]]}, ShapeMismatchError, "parents should be a regular array"),
    ({"parents": object()}, ShapeMismatchError, "parents should be array-like, got object"),
    ({"valid": np.ones(3, int)}, ShapeMismatchError, "valid should have bool, got int64"),
    ({"draft_logprobs": np.ones(3, int)}, ShapeMismatchError, "draft_logprobs should have a float dtype"),
    (
        {"visible": np.ones((2, 3), bool)},
        ShapeMismatchError,
        r"visible should be \[N, N\], got shape \(2, 3\)",
    ),
    ({"visible": np.ones(5, bool)}, ShapeMismatchError, r"visible should be \[N, N\], got shape \(5,\)"),
    ({"visible": np.ones((1, 3, 3), bool)}, ShapeMismatchError, r"visible should be \[N, N\]"),
    ({"committed_len": [3]}, ShapeMismatchError, "committed_len should be a scalar, got shape"),
    ({"committed_len": 3.5}, ShapeMismatchError, "committed_len should have an integer dtype, got float64"),
    ({"committed_len": True}, ShapeMismatchError, "committed_len should have an integer dtype, got bool"),
    ({"committed_len": 2**31}, ShapeMismatchError, "committed_len should fit int32, got 2147483648"),
    ({"prefix_kept": 1}, ShapeMismatchError, "prefix_kept should have bool"),
    ({"proposer": 3}, ShapeMismatchError, "proposer should be text, got int"),
    ({"index_sites": [("a", 1)]}, ShapeMismatchError, "index_sites should be rows of"),
    ({"parents": [0, 0], "token_ids": [1]}, ShapeMismatchError, "token_ids has N = 1, but parents has N = 2"),
    (
        {"parents": [0, 0], "visible": np.ones((3, 3), bool)},
        ShapeMismatchError,
        "visible has N = 3, but parents",
    ),
    ({"parents": [0, 0], "visible": np.ones(9, bool)}, ShapeMismatchError, "visible has N = 3, but parents"),
    ({"parents": [0, 0], "target_top_ids": [1, 2, 3]}, ShapeMismatchError, "with N = 2, got 3 values"),
    (
        {"target_top_ids": np.ones((2, 3), int), "target_top_logits": np.ones((2, 4))},
        ShapeMismatchError,
        "target_top_logits has K = 4, but target_top_ids has K = 3",
    ),
]


@pytest.mark.parametrize(("columns", "error", "sentence"), WRONG)
def test_wrong_names_ranks_dtypes_and_lengths_are_refused(
    tmp_path: Path, columns: dict[str, Any], error: type[TraceError], sentence: str
) -> None:
    with (
        open_trace(tmp_path / "run", level="full") as trace,
        trace.step(step=0) as step,
        pytest.raises(error, match=sentence),
    ):
        step.record(**columns)
    incomplete = open_run(tmp_path / "run").path("fused").step(0)["incomplete"]
    assert str(incomplete).startswith(list(columns)[-1])


@pytest.mark.parametrize(("columns", "error", "sentence"), WRONG)
def test_warn_mode_never_raises_and_marks_the_step(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, columns: dict[str, Any], error: type, sentence: str
) -> None:
    with open_trace(tmp_path / "run", level="full", on_error="warn") as trace:
        for number in range(3):
            with trace.step(step=number) as step:
                step.record(**columns)
                step.record(final_token_id=5)
    row = open_run(tmp_path / "run").path("fused").step(2)
    assert list(columns)[-1] in row["incomplete"]
    assert row["final_token_id"] == 5
    assert len(caplog.records) == 1  # each reason once, not once a step


def test_flat_columns_may_come_before_n_is_known(tmp_path: Path) -> None:
    row = recorded(tmp_path, {"target_top_ids": list(range(6))}, {"parents": [0, 0]})
    assert row["target_top_ids"].tolist() == [[0, 1, 2], [3, 4, 5]]
    late_n = ({"target_top_ids": list(range(6))}, {"parents": [0, 0, 0, 0]})
    with pytest.raises(ShapeMismatchError, match="with N = 4, got 6 values"):
        recorded(tmp_path / "late", *late_n)
    late = open_run(tmp_path / "late" / "run").path("fused").step(0)
    assert late["target_top_ids"] is None
    assert "target_top_ids" in late["incomplete"]


def test_the_last_value_of_a_column_stands_and_may_change_n_alone(tmp_path: Path) -> None:
    row = recorded(tmp_path, {"parents": [0, 0]}, {"parents": [0, 0, 1]}, {"token_ids": [5, 6, 7]})
    assert row["parents"].tolist() == [0, 0, 1]


def test_levels_leave_columns_out(tmp_path: Path) -> None:
    kept = {}
    for level in ("basic", "digest", "full"):
        with open_trace(tmp_path / level, level=level) as trace:
            record_step(trace, 0)
            assert trace.wants("kv_row_digests") is (level != "basic")
        row = open_run(tmp_path / level).path("fused").step(0)
        kept[level] = {name for name, value in row.items() if value is not None}
    assert kept["basic"] < kept["digest"] < kept["full"]
    assert kept["full"] - kept["digest"] == {"draft_top1_offsets", "index_sites"}
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
            (lambda: RunWriter(tmp_path / "x", codec="gzip"), "codec should be one of"),
        ]:
            with pytest.raises((UsageError, TraceError), match=sentence):
                call()
        with pytest.raises(UnknownColumnError):
            run.path("other", lacks=["slotz"])
        run.update(seeds={})
        with pytest.raises(UsageError, match="on_error should be"):
            run.path("third", on_error="ignore")  # type: ignore[arg-type]
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
    given |= {"launch_refused", "incomplete", "prefill_ns"}
    assert given == {column.name for column in COLUMNS}
