"""Two recordings: the first difference, whatever the batches, in flat memory and in time."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracing.schema import arrow_schema
from workbench.judge.align import align
from workbench.judge.align_columns import default_columns, first_difference

NUM_NODES = 6


def run_table(turns: list[int], num_nodes: int = NUM_NODES, seed: int = 0) -> pa.Table:
    """A run with `turns[i]` steps in turn i; each step emits two tokens."""
    rng = np.random.default_rng(seed)
    keys = [(0, turn, step) for turn, steps in enumerate(turns) for step in range(steps)]
    rows = len(keys)
    names = [
        "prompt_id", "turn", "step", "committed_len", "token_ids", "parents", "valid",
        "draft_logprobs", "visible",
        "target_token_ids", "accepted_nodes", "emitted_token_ids", "stop_reason", "kernel", "verify_ns",
    ]  # fmt: skip
    schema = arrow_schema(names)

    def lists(values: Any, kind: Any) -> pa.Array:
        width = values.shape[1]
        return pa.ListArray.from_arrays(
            pa.array(np.arange(rows + 1, dtype=np.int32) * width), pa.array(values.ravel(), type=kind)
        )

    integers = lambda high, width: rng.integers(0, high, (rows, width)).astype(np.int32)  # noqa: E731
    columns = [
        pa.array([key[0] for key in keys], pa.int32()),
        pa.array([key[1] for key in keys], pa.int32()),
        pa.array([key[2] for key in keys], pa.int32()),
        pa.array([10 + 2 * key[2] for key in keys], pa.int32()),
        lists(integers(900, num_nodes), pa.int32()),
        lists(integers(num_nodes, num_nodes), pa.int32()),
        lists(rng.random((rows, num_nodes)) < 0.9, pa.bool_()),
        lists(rng.random((rows, num_nodes)).astype(np.float32), pa.float32()),
        lists(rng.random((rows, num_nodes * num_nodes)) < 0.5, pa.bool_()),
        lists(integers(900, num_nodes), pa.int32()),
        lists(integers(num_nodes, 1), pa.int32()),
        lists(integers(900, 2), pa.int32()),
        pa.array(["eos" if key[2] + 1 == turns[key[1]] else None for key in keys], pa.string()),
        pa.array(["twin"] * rows).dictionary_encode().cast(schema.field("kernel").type),
        pa.array(rng.integers(0, 9, rows)),
    ]
    return pa.Table.from_arrays(columns, names=names)


def edited(table: pa.Table, row: int, column: str, change: Any) -> pa.Table:
    values = table.column(column).to_pylist()
    values[row] = change(values[row]) if callable(change) else change
    place = table.column_names.index(column)
    return table.set_column(place, column, pa.array(values, table.column(column).type))


def batches(table: pa.Table, size: int) -> list[pa.RecordBatch]:
    return table.combine_chunks().to_batches(max_chunksize=size)


def bumped(place: int) -> Any:
    def change(values: list[Any]) -> list[Any]:
        old = values[place]
        return [*values[:place], not old if isinstance(old, bool) else old + 1, *values[place + 1 :]]

    return change


TABLE = run_table([7, 5, 9])


@given(st.integers(1, 25), st.integers(1, 25))
def test_equal_runs_are_the_same_however_they_are_cut(left: int, right: int) -> None:
    result = align(batches(TABLE, left), batches(TABLE, right))
    assert result.same
    assert result.num_steps == 21
    assert result.findings() == ()


@given(
    st.integers(0, 20),
    st.sampled_from(["token_ids", "parents", "valid", "visible", "target_token_ids", "draft_logprobs"]),
    st.integers(0, NUM_NODES - 1),
    st.integers(1, 25),
    st.integers(1, 25),
)
def test_one_changed_value_is_found_where_it_is(
    row: int, column: str, node: int, left: int, right: int
) -> None:
    place = node * NUM_NODES + 1 if column == "visible" else node
    other = edited(TABLE, row, column, bumped(place))
    result = align(batches(TABLE, left), batches(other, right))
    turn, step = next((t, row - start) for t, start, end in [(0, 0, 7), (1, 7, 12), (2, 12, 21)] if row < end)
    (difference,) = result.differences
    assert (difference.moment.turn, difference.moment.step) == (turn, step)
    assert (difference.column, difference.moment.node) == (column, node)
    assert result.streams == []
    assert result.findings()[0].rule == "JUDGE-ALIGN-COLUMN"


def test_of_two_columns_in_one_step_the_earlier_stage_is_named() -> None:
    other = edited(edited(TABLE, 3, "emitted_token_ids", bumped(0)), 3, "parents", bumped(2))
    difference = align(batches(TABLE, 4), batches(other, 4)).differences[0]
    assert (difference.column, str(difference.moment)) == ("parents", "0:0:3:tensorize:2")


def test_tokens_are_compared_by_absolute_position_after_the_steps_part() -> None:
    """The same text in other portions: one step of two tokens becomes two steps; no stream difference."""
    rows = {"prompt_id": [0] * 3, "turn": [0] * 3, "step": [0, 1, 2], "committed_len": [4, 6, 8]}
    one = pa.table({**rows, "emitted_token_ids": [[5, 6], [7, 8], [9, 1]]})
    rows = {"prompt_id": [0] * 4, "turn": [0] * 4, "step": [0, 1, 2, 3], "committed_len": [4, 6, 7, 8]}
    other = pa.table({**rows, "emitted_token_ids": [[5, 6], [7], [8], [9, 1]]})
    columns = [
        column for column in default_columns() if column.name in {"committed_len", "emitted_token_ids"}
    ]
    result = align(batches(one, 9), batches(other, 9), columns)
    assert [str(each.moment) for each in result.differences] == ["0:0:1:accept"]
    assert result.streams == []
    wrong = pa.table({**rows, "emitted_token_ids": [[5, 6], [7], [8], [2, 1]]})
    (stream,) = align(batches(one, 9), batches(wrong, 9), columns).streams
    assert (stream.position, stream.left, stream.right) == (9, 9, 2)


def test_a_turn_after_a_difference_is_compared_again() -> None:
    other = edited(edited(TABLE, 2, "token_ids", bumped(1)), 15, "token_ids", bumped(4))
    result = align(batches(TABLE, 4), batches(other, 6))
    assert [str(each.moment) for each in result.differences] == ["0:0:2:tensorize:1", "0:2:3:tensorize:4"]
    assert result.num_steps == 2 + 5 + 3


@pytest.mark.parametrize("flipped", [False, True])
def test_missing_steps_and_turns_are_differences(flipped: bool) -> None:
    shorter = pa.concat_tables(
        [TABLE.slice(0, 6), TABLE.slice(12)]
    )  # turn 0 lacks its last step, turn 1 is gone
    pair = (shorter, TABLE) if flipped else (TABLE, shorter)
    result = align(batches(pair[0], 5), batches(pair[1], 5))
    assert [str(each.moment) for each in result.differences] == ["0:0:6", "0:1:0"]
    assert {each.rule for each in result.differences} == {"JUDGE-ALIGN-MISSING"}
    assert [(each.turn, each.position) for each in result.streams] == [(0, 23), (1, 11)]
    assert "missing" in result.findings()[0].message


def test_a_run_that_ends_early_differs_at_its_end() -> None:
    result = align(batches(TABLE, 5), batches(TABLE.slice(0, 18), 5))
    assert [str(each.moment) for each in result.differences] == ["0:2:6"]
    assert not align([], []).same


def test_nulls_times_and_kernels() -> None:
    other = edited(edited(TABLE, 0, "kernel", "other"), 0, "verify_ns", 77)
    assert align(batches(TABLE, 5), batches(other, 5)).same
    stopped = edited(TABLE, 3, "stop_reason", "eos")
    (difference,) = align(batches(TABLE, 5), batches(stopped, 5)).differences
    assert (difference.column, difference.fused, difference.reference) == ("stop_reason", "null", "eos")


def test_columns_that_a_run_does_not_have_are_listed() -> None:
    result = align(batches(TABLE, 5), batches(TABLE.drop_columns(["parents"]), 5))
    assert result.same
    assert "parents" in result.not_compared
    names = {column.name for column in default_columns(bits=False, lacks=frozenset({"parents"}))}
    assert not names & {"parents", "draft_logprobs", "kv_row_digests", "kernel", "verify_ns", "prompt_id"}


def test_nan_equals_itself_and_minus_zero_is_another_bit() -> None:
    nan = pa.array([[1.0, float("nan")], [0.0]], pa.list_(pa.float32()))
    assert first_difference(nan, nan) is None
    zero = pa.array([[0.0], [0.0]], pa.list_(pa.float32()))
    assert first_difference(zero, pa.array([[0.0], [-0.0]], pa.list_(pa.float32()))) == 1
    assert first_difference(nan, pa.array([[1.0, float("nan")], [-0.0]], pa.list_(pa.float32()))) == 1
    assert first_difference(nan, pa.array([[1.0], [0.0]], pa.list_(pa.float32()))) == 0


def test_a_hundred_thousand_steps_take_seconds_at_most() -> None:
    """The promise is 3 s; a quarter of the run with a wide margin shows that nothing is done row by row."""
    table = run_table([12_500, 12_500], num_nodes=20)
    other = edited(table, 24_990, "token_ids", bumped(3))
    left, right = batches(table, 64), batches(other, 64)
    begin = time.process_time()
    result = align(left, right)
    assert time.process_time() - begin < 3
    assert str(result.differences[0].moment) == "0:1:12490:tensorize:3"
