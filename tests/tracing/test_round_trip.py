"""What is recorded comes back: every column, in order, from sealed files and journals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.tracing.conftest import NUM_HEADS, NUM_NODES, NUM_TOP, record_step, step_columns
from tracing.columns import AXES, COLUMNS, Column
from tracing.errors import TraceError
from tracing.moment import Moment
from tracing.reader import open_run
from tracing.recorder import RunWriter, open_trace
from tracing.schema import SITE_FIELDS, arrow_schema
from tracing.vocabulary import TOKEN_COLUMNS


def assert_same(given: Any, back: Any) -> None:
    """Equal values; a masked array also has equal masks."""
    if isinstance(given, np.ma.MaskedArray):
        np.testing.assert_array_equal(np.ma.getmaskarray(given), np.ma.getmaskarray(back))
        np.testing.assert_array_equal(given.filled(0), back.filled(0))
    elif isinstance(given, np.ndarray):
        assert given.shape == back.shape
        np.testing.assert_array_equal(given, back)
    else:
        assert given == back


STAY_FLAT = {"block_ids", "table_block_ids", "expert_ids", "expert_loads"}
"""Columns with two axes whose sizes N does not tell."""


def test_every_column_comes_back_in_its_natural_shape(small_run: Path) -> None:
    run = open_run(small_run)
    assert run.status == "complete"
    assert not run.problems
    for name in ("fused", "reference"):
        path = run.path(name)
        assert (path.num_steps, path.problems, path.in_progress) == (3, [], [])
        for step in range(3):
            row = path.step(step)
            assert set(row) == {column.name for column in COLUMNS}
            for column, expected in step_columns(step).items():
                assert_same(expected.ravel() if column in STAY_FLAT else expected, row[column])
    assert row["visible"].shape == (NUM_NODES, NUM_NODES)
    assert row["target_top_ids"].shape == (NUM_NODES, NUM_TOP)
    assert row["draft_top1_offsets"].shape == (NUM_NODES, NUM_HEADS)


def test_plain_arrow_reads_a_complete_run_every_row_a_step(small_run: Path) -> None:
    """Anybody's Arrow reads it: the end record is no row, the types are those of the table."""
    table = pa.ipc.open_stream(str(small_run / "fused.arrows")).read_all()
    assert table.num_rows == 3
    assert table.schema.remove_metadata() == arrow_schema()
    assert table.column("step").to_pylist() == [0, 1, 2]


@pytest.mark.parametrize("num_steps", [0, 1, 63, 64, 65, 130])
def test_rows_are_in_order_across_batch_boundaries(tmp_path: Path, num_steps: int) -> None:
    with open_trace(tmp_path / "run", level="full") as trace:
        for step in range(num_steps):
            with trace.step(prompt_id=step // 50, step=step % 50) as recorded:
                recorded.record(committed_len=step, parents=[0] * (step % 5 + 1))
        assert trace.num_steps == num_steps
    path = open_run(tmp_path / "run").path("fused")
    assert path.columns(["committed_len"]).column(0).to_pylist() == list(range(num_steps))
    assert [row["committed_len"] for row in path] == list(range(num_steps))
    assert all(batch.num_rows <= 64 for batch in path.batches())
    middle = path.columns(["committed_len", "parents"], num_steps // 3, 2 * num_steps // 3)
    assert middle.column(0).to_pylist() == list(range(num_steps // 3, 2 * num_steps // 3))
    for row in range(0, num_steps, 7):
        assert path.moment(row) == Moment(row // 50, 0, row % 50)
        assert path.find(Moment(row // 50, 0, row % 50, "verify", 3)) == row
    with pytest.raises(TraceError, match="no step"):
        path.find(Moment(99, 0, 0))
    with pytest.raises(TraceError, match="got -1"):
        path.step(-1)


def test_a_running_run_can_be_followed(tmp_path: Path) -> None:
    """Sealed rows and journaled rows join without a gap or a double, whatever is sealed between two looks."""
    with RunWriter(tmp_path / "run") as run:
        trace = run.path("fused")
        reader = open_run(tmp_path / "run")
        for step in range(70):
            record_step(trace, step)
            if step % 9 == 0 or step > 60:
                reader.refresh()
                path = reader.path("fused")
                assert path.columns(["step"]).column(0).to_pylist() == list(range(step + 1))
                assert reader.status == "running"
                assert reader.being_written
        second = run.path("reference")
        record_step(second, 0)
        reader.refresh()
        assert reader.path("reference").num_steps == 1
    reader.refresh()
    assert reader.status == "complete"
    assert not reader.being_written
    assert (reader.path("fused").num_steps, reader.path("fused").problems) == (70, [])


def test_a_step_in_progress_shows_its_stage_and_inputs(tmp_path: Path) -> None:
    """What is asked of a killed run: which stage, with which inputs; not mixed into the row."""
    given = step_columns(4)
    with RunWriter(tmp_path / "run") as run:
        trace = run.path("fused")
        record_step(trace, 3)
        with trace.step(step=4) as step:
            step.record(parents=given["parents"], draft_logprobs=given["draft_logprobs"])
            step.about_to_run("verify", {"visible": given["visible"]}, token_ids=given["token_ids"])
            path = open_run(tmp_path / "run").path("fused")
            (seen,) = path.in_progress
            assert seen.moment == Moment(0, 0, 4, "verify")
            assert_same(given["visible"], seen.inputs["visible"])
            assert_same(given["token_ids"], seen.inputs["token_ids"])
            assert_same(given["parents"], seen.columns["parents"])
            assert path.num_steps == 1
    path = open_run(tmp_path / "run").path("fused")
    assert path.in_progress == []
    assert path.step(1)["token_ids"] is None  # an input is not a column of the row
    assert_same(given["parents"], path.step(1)["parents"])


def test_open_steps_survive_a_seal(tmp_path: Path) -> None:
    """A batched engine has several steps open while others finish and seal; their inputs must not vanish."""
    with RunWriter(tmp_path / "run") as run:
        trace = run.path("fused")
        with trace.step(prompt_id=7, step=0) as slow:
            slow.about_to_run("draft", committed_len=5)
            for step in range(65):
                record_step(trace, step)
            trace._writer._sealing.wait()
            path = open_run(tmp_path / "run").path("fused")
            assert path.stream.num_rows == 64
            assert path.in_progress[0].inputs["committed_len"] == 5
            slow.record(committed_len=5)
    assert open_run(tmp_path / "run").path("fused").step(65)["committed_len"] == 5


def test_vocabulary_holds_every_id_that_occurs_and_null_for_impossible_ones(tmp_path: Path) -> None:
    def token_bytes(token_id: int) -> bytes:
        if not 0 <= token_id < 512:
            raise IndexError(token_id)
        return bytes([255, token_id % 256])

    with RunWriter(tmp_path / "run", token_bytes=token_bytes) as run:
        trace = run.path("fused")
        given = record_step(trace, 0, final_token_id=-1)
        journaled = open_run(tmp_path / "run").vocabulary
    vocabulary = open_run(tmp_path / "run").vocabulary
    assert vocabulary == journaled
    assert vocabulary[-1] is None
    expected = {int(token_id) for name in TOKEN_COLUMNS for token_id in np.ravel(given[name])} | {-1}
    assert set(vocabulary) == expected
    assert vocabulary[int(given["token_ids"][0])] == bytes([255, given["token_ids"][0] % 256])


@st.composite
def any_steps(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Steps of any form: any N, K, H and A, any subset of columns, nulls inside arrays, any values."""
    steps = []
    for _ in range(draw(st.integers(1, 4))):
        sizes = {letter: draw(st.integers(0, 5)) for letter in AXES} | {"L+1": 3, "*": 2}
        sizes["A+1"] = sizes["A"] + 1
        chosen = draw(st.sets(st.sampled_from(COLUMNS[3:]), max_size=40))
        steps.append({column.name: draw(values_of(column, sizes)) for column in chosen})
    return steps


def values_of(column: Column, sizes: dict[str, int]) -> st.SearchStrategy[Any]:
    """Values in the column's range, as nested lists with None, or as scalars."""
    element: st.SearchStrategy[Any] = {
        "bool": st.booleans(),
        "string": st.text(max_size=5),
        "dictionary": st.sampled_from(["eagle3", "lookup", ""]),
        "float32": st.floats(width=32, allow_nan=False),
        "float64": st.floats(allow_nan=False),
        "sites": st.fixed_dictionaries(
            {"site": st.text(max_size=3), **dict.fromkeys(SITE_FIELDS[1:], INT64)}
        ),
        "int32": st.integers(-(2**31), 2**31 - 1),
        "int64": INT64,
        "uint64": st.integers(0, 2**64 - 1),
    }[column.kind]
    if column.axes is None:
        return st.none() | element
    inner = element if column.kind == "sites" else st.none() | element
    if len(column.axes) == 1:
        size = sizes[column.axes[0]]
        return st.none() | st.lists(inner, min_size=size, max_size=size)
    if len(column.axes) > 2 and not all(sizes[letter] for letter in column.axes):
        return st.none()  # nested lists do not tell the rank of an empty array
    for letter in reversed(column.axes):
        inner = st.lists(inner, min_size=sizes[letter], max_size=sizes[letter])
    return inner


INT64 = st.integers(-(2**63), 2**63 - 1)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(any_steps(), st.booleans())
@example([{"feature_row_digests": [None, 0, 2**63]}], True)  # numpy makes float64 of 0 and 2**63
def test_any_step_comes_back_as_it_was_given(
    tmp_path_factory: pytest.TempPathFactory, steps: list[dict[str, Any]], sealed: bool
) -> None:
    """The law of the trace, for every column and form, read back from batches and from the journal alike."""
    folder = tmp_path_factory.mktemp("any")
    with RunWriter(folder) as run:
        trace = run.path("fused")
        for number, columns in enumerate(steps):
            with trace.step(step=number) as step:
                for name, value in columns.items():
                    step.record(**{name: value})
                    step.about_to_run("commit")
        if sealed:
            trace.seal()
        back = list(open_run(folder, every_row=True).path("fused"))
    assert len(back) == len(steps)
    for row, columns in zip(back, steps, strict=True):
        assert row["incomplete"] is None or "incomplete" in columns
        for name, value in columns.items():
            assert flat(row[name]) == flat(value), name


def flat(value: Any) -> Any:
    """Lists without their shape: an empty axis leaves none to compare."""
    if isinstance(value, np.ndarray):
        return value.ravel().tolist()
    if isinstance(value, list) and value and isinstance(value[0], list):
        return flat([item for row in value for item in row])
    return value
