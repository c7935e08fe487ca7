"""Nulls in recorded columns: a step that ended early has them in every type; they differ from values."""

from __future__ import annotations

import pyarrow as pa
import pytest

from workbench.judge.align_columns import first_difference


@pytest.mark.parametrize(
    ("kind", "value"),
    [(pa.int32(), 0), (pa.uint64(), 0), (pa.bool_(), False), (pa.string(), ""), (pa.float32(), 0.0)],
)
def test_a_null_differs_from_what_stands_for_it(kind: pa.DataType, value: object) -> None:
    left = pa.array([value, None, value], kind)
    right = pa.array([value, value, value], kind)
    assert first_difference(left, right) == 1
    assert first_difference(left, left) is None
    assert first_difference(left.slice(1), right.slice(1)) == 0
