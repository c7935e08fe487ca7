"""Wrong values are evidence: no value may crash a rule or the prefilter, which may overlook none."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from invariants.examples import CONTEXT
from invariants.inputs import Row
from invariants.outcome import Violated
from invariants.run import Checker
from invariants.strategies import legal_runs
from tests.invariants.helpers import prefiltered

EXTREMES = {
    "i": [0, 1, -1, 2, 3, -(2**31), 2**31 - 1],
    "u": [0, 1, 2**64 - 1],
    "f": [0.0, -0.5, 1.0, float("nan"), float("inf"), float("-inf")],
    "b": [False, True],
}
SCALARS: dict[str, list[Any]] = {
    "committed_len": [0, -1, 2**31 - 1, -(2**31)],
    "committed_len_after": [0, -1, 2**31 - 1],
    "final_token_id": [-1, 2, 2**31 - 1],
    "step": [0, -1, 7],
    "stop_reason": ["eos", "length", "because", ""],
    "commit_mode": ["length", "", "odd"],
    "commit_fallback": ["", "why"],
    "prefix_kept": [False],
    "kv_digest_before": [0, 2**64 - 1],
    "kv_digest_after": [0, 2**64 - 1],
}


@st.composite
def hostile_rows(draw: st.DrawFn) -> list[Row]:
    """A legal run in which one step has several columns of any value, length or absence."""
    rows = draw(legal_runs())
    place = draw(st.integers(0, len(rows) - 1))
    row = dict(rows[place])
    for name in draw(st.lists(st.sampled_from(sorted(row)), min_size=1, max_size=4)):
        row[name] = draw(hostile_values(name, row[name]))
    return [*rows[:place], row, *rows[place + 1 :]]


def hostile_values(name: str, value: Any) -> st.SearchStrategy[Any]:
    if name in SCALARS:
        return st.sampled_from([*SCALARS[name], None])
    if not isinstance(value, np.ndarray):
        return st.none() if name not in ("prompt_id", "turn") else st.just(value)
    shapes = st.just(value.shape)
    if value.ndim == 1:
        shapes = st.one_of(shapes, st.tuples(st.integers(0, len(value) + 2)))
    entries = st.sampled_from(EXTREMES[value.dtype.kind])
    arrays = shapes.flatmap(
        lambda shape: st.lists(entries, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))).map(
            lambda cells: np.array(cells, dtype=value.dtype).reshape(shape)
        )
    )
    return st.one_of(st.none(), arrays)


@given(hostile_rows())
@settings(max_examples=60)
def test_no_value_crashes_a_rule_and_no_clause_overlooks_it(rows: list[Row]) -> None:
    checker = Checker(CONTEXT)
    suspicious = prefiltered(rows, CONTEXT)
    for row, flag in zip(rows, suspicious, strict=True):
        condemned = [each for each in checker.step("fused", row) if isinstance(each, Violated)]
        assert flag or not condemned
    checker.finish()
