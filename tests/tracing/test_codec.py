"""Stage results as trace columns and back; both derived from the fields of the results."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tracing.codec import launch_columns, required_columns, result_of_row, row_columns
from tracing.columns import COLUMN_BY_NAME
from tracing.fields import forms_of, recorded, unrecorded
from tracing.reader import open_run
from tracing.recorder import open_trace
from tracing.results import (
    RESULT_OF_STAGE,
    Accepted,
    Committed,
    Drafted,
    DraftLevel,
    Tensorized,
    Verified,
)
from tracing.stage_validation import InvalidStageResultError, validated

TREE = Tensorized(
    token_ids=np.array([5, 6, 7, 0]),
    parents=np.array([0, 0, 1, 0]),
    depths=np.array([0, 1, 2, 0]),
    valid=np.array([True, True, True, False]),
    position_ids=np.array([9, 10, 11, 9]),
    cache_positions=np.arange(9, 13),
    visible=np.tri(4, dtype=np.bool_),
    logprobs=np.array([0, -0.5, -1, 0], np.float32),
    slots=np.arange(4),
)
VERIFIED = Verified(
    visible=np.tri(4, dtype=np.bool_),
    prefix_visible=np.full(4, 9),
    other_visible=np.zeros(4, np.int64),
    logits=np.zeros((4, 2)),
    target_token_ids=np.array([6, 7, 8, 0]),
    features=np.zeros((4, 3)),
    kernel="eager",
)
ACCEPTED = Accepted(
    accepted_nodes=np.array([1, 2]),
    final_token_id=8,
    emitted_token_ids=np.array([6, 7, 8]),
    path_indices=np.array([9, 10, 11]),
    stop_reason="eos",
)
COMMITTED = Committed(committed_len=9, committed_len_after=12, commit_mode="length", prefix_kept=True)
GIVEN: dict[type, dict[str, Any]] = {
    Tensorized: {"visible": TREE.visible},
    Verified: {"logits": VERIFIED.logits, "features": VERIFIED.features},
}


def test_every_field_says_how_it_is_written_down() -> None:
    for result in (*RESULT_OF_STAGE.values(), DraftLevel):
        assert [form.name for form in forms_of(result)] == [each.name for each in fields(result)]


@pytest.mark.parametrize(
    "result", [TREE, VERIFIED, ACCEPTED, COMMITTED], ids=lambda each: type(each).__name__
)
def test_a_result_comes_back_from_its_row(tmp_path: Path, result: Any) -> None:
    with open_trace(tmp_path / "run") as trace, trace.step(step=0) as step:
        step.record(**row_columns(result))
    row = open_run(tmp_path / "run").path("fused").step(0)
    kind = type(result)
    back = result_of_row(kind, row, **GIVEN.get(kind, {}))
    for form in forms_of(kind):
        ours, theirs = getattr(result, form.name), getattr(back, form.name)
        assert np.array_equal(ours, theirs), form.name
        assert type(ours) is type(theirs), form.name
        assert np.asarray(ours).dtype == np.asarray(theirs).dtype, form.name


def test_what_a_result_does_not_have_is_no_column_and_comes_back_as_none() -> None:
    row = row_columns(Committed(committed_len=9, committed_len_after=12))
    assert row == {"committed_len": 9, "committed_len_after": 12}
    assert result_of_row(Committed, row | {"commit_mode": None}).commit_mode is None
    with pytest.raises(KeyError, match="committed_len_after"):
        result_of_row(Committed, {"committed_len": 9})


def test_a_draft_over_its_nodes_is_recorded_over_all_rows() -> None:
    offsets = np.ma.MaskedArray(np.array([[1, 2], [3, 4], [0, 0]]), mask=[[0, 0], [0, 0], [1, 1]])
    level = DraftLevel(beam_flat_ids=np.array([1, 0]), token_ids=np.ones((2, 2)), scores=np.ones((2, 2)))
    first = DraftLevel(beam_flat_ids=np.zeros(0, int), token_ids=np.ones((1, 2)), scores=np.ones((1, 2)))
    drafted = Drafted(
        token_ids=TREE.token_ids[:3],
        parents=TREE.parents[:3],
        levels=(first, level),
        top1_offsets=offsets,
        proposer="mine",
    )
    columns = row_columns(drafted, 4)
    assert columns.keys() == {"beam_flat_ids", "draft_top1_offsets", "proposer"}
    assert columns["beam_flat_ids"].tolist() == [1, 0]
    assert columns["draft_top1_offsets"].tolist() == [[1, 2], [3, 4], [None, None], [None, None]]
    assert row_columns(drafted).keys() == {"beam_flat_ids", "proposer"}
    assert row_columns(Drafted(token_ids=TREE.token_ids, parents=TREE.parents), 4) == {"proposer": "eagle3"}


def test_a_launch_is_told_what_was_built_and_the_row_what_was_read_back() -> None:
    assert launch_columns(TREE).keys() - row_columns(TREE).keys() == {"visible"}
    assert launch_columns(Drafted(token_ids=TREE.token_ids, parents=TREE.parents)).keys() == {
        "draft_parents",
        "proposer",
    }
    assert required_columns(Accepted) == (
        "accepted_nodes",
        "final_token_id",
        "emitted_token_ids",
        "path_indices",
    )
    assert set(launch_columns(TREE)) <= set(COLUMN_BY_NAME)


@dataclass(frozen=True, kw_only=True)
class Toy:
    """A result with a column that others do not have, a float array and a tensor."""

    slots: Any = field(metadata=recorded())
    scores: Any = field(metadata=unrecorded("float", "N"))
    rows: Any = field(default=None, metadata=unrecorded("tensor", "N", "V"))


def test_all_about_a_new_result_follows_from_its_fields(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(RESULT_OF_STAGE, "toy", Toy)
    slots, scores = np.array([3, 4], np.int16), np.array([0.5, 1.5])
    copy = validated("toy", Toy(slots=slots, scores=scores), {"N": 2}, lambda array: array)
    slots[:] = 0
    assert copy.slots.tolist() == [3, 4]
    assert (copy.slots.dtype, copy.scores.dtype) == (np.int64, np.float32)
    assert row_columns(copy).keys() == {"slots"}
    with pytest.raises(InvalidStageResultError, match=r"scores should be of shape \[2\], got \[3\]"):
        validated("toy", Toy(slots=slots, scores=np.zeros(3)), {}, lambda array: array)
