"""Which values a column takes, in which form, and which it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tracing.errors import (
    ShapeMismatchError,
    TraceError,
    UnknownColumnError,
)
from tracing.reader import open_run
from tracing.recorder import open_trace


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
    if error is UnknownColumnError:
        assert incomplete is None  # the host was told at once, and no column of the trace is lost
    else:
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
