"""The prefilter flags every step that the loop condemns and passes legal ones: a million steps are cheap."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invariants.batch.flat import Flat
from invariants.batch.steps import Batch
from invariants.batch.suspicious import suspicious_steps
from invariants.examples import CONTEXT, Before, Tree, legal_step, next_before
from invariants.inputs import Row
from invariants.outcome import Violated
from invariants.run import Checker, check_step
from invariants.strategies import legal_runs
from tests.invariants.helpers import prefiltered
from tests.invariants.pack import pack
from tracing.errors import UsageError

BEFORE = Before()
FIRST = legal_step(Tree([0, 0, 0, 1], [7, 5, 6, 8], [5, 9, 9, 9], 1), BEFORE)
SECOND = legal_step(Tree([0, 0, 0, 1], [9, 5, 6, 8], [5, 8, 9, 10], 1), next_before(FIRST, BEFORE))
THIRD = legal_step(
    Tree([0, 0, 0, 1], [10, 5, 6, 8], [6, 9, 9, 9], 1), next_before(SECOND, next_before(FIRST, BEFORE))
)
TURN: list[Row] = [FIRST, SECOND, THIRD]


@given(legal_runs(max_turns=3))
@settings(max_examples=30)
def test_legal_runs_pass(rows: list[Row]) -> None:
    assert not prefiltered(rows, CONTEXT).any()


@st.composite
def scrambled_runs(draw: st.DrawFn) -> list[Row]:
    """Legal runs with one entry of one column of one step replaced by something else."""
    rows = draw(legal_runs())
    place = draw(st.integers(0, len(rows) - 1))
    row = dict(rows[place])
    name = draw(st.sampled_from(sorted(name for name, value in row.items() if isinstance(value, np.ndarray))))
    array = np.array(row[name])
    if array.size:
        cell = draw(st.integers(0, array.size - 1))
        array.flat[cell] = draw(
            st.sampled_from([0, 1, 2, 3, 5, 61, array.flat[draw(st.integers(0, array.size - 1))]])
        )
    row[name] = np.ma.array(array, mask=np.ma.getmaskarray(rows[place][name]))
    return [*rows[:place], row, *rows[place + 1 :]]


@given(scrambled_runs())
@settings(max_examples=80)
def test_no_false_negatives_on_scrambled_runs(rows: list[Row]) -> None:
    checker = Checker(CONTEXT)
    suspicious = prefiltered(rows, CONTEXT)
    for row, flag in zip(rows, suspicious, strict=True):
        condemned = [each for each in checker.step("fused", row) if isinstance(each, Violated)]
        assert flag or not condemned


def test_a_batch_that_begins_in_mid_turn_flags_its_first_step() -> None:
    assert prefiltered(TURN[1:], CONTEXT).tolist() == [True, False]


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(UsageError, match="one number of steps"):
        Batch({"step": Flat(np.zeros(2)), "turn": Flat(np.zeros(3))})


def test_the_token_limit_is_known_across_batches() -> None:
    first = FIRST["committed_len"]
    emitted = THIRD["committed_len_after"] - first + 1
    tight = replace(CONTEXT, max_new_tokens=emitted - 1)
    assert not prefiltered(TURN[1:], tight)[-1]
    assert suspicious_steps(Batch(pack(TURN[1:]), tight, first_committed_len=first))[-1]


def test_the_prefilter_is_much_cheaper_than_the_loop() -> None:
    """Relative, so that a busy machine does not matter; the absolute figure is the benchmark's."""
    row = legal_step(Tree([0, *range(59)], range(3, 63), [90] * 60), Before(prompt_len=20, committed_len=20))
    rows = [{**row, "turn": turn} for turn in range(300)]
    columns = pack(rows)
    start = time.process_time()
    suspicious_steps(Batch(columns, CONTEXT))
    filtered = (time.process_time() - start) / len(rows)
    start = time.process_time()
    for row in rows[:5]:
        check_step(row, context=CONTEXT)
    looped = (time.process_time() - start) / 5
    assert filtered * 20 < looped
