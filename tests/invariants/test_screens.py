"""Screens flag every step that the loop condemns, and pass legal ones, so that a million steps are cheap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invariants.examples import CONTEXT, Before, Tree, legal_step, next_before
from invariants.inputs import Row
from invariants.mutations import MUTATIONS, Case, Mutation
from invariants.outcome import Violated
from invariants.run import Checker
from invariants.screens.batch import Flat
from invariants.screens.pack import pack
from invariants.screens.screen import screen_batch
from invariants.strategies import legal_runs, mutated_cases
from tests.invariants.helpers import violated
from tracing.errors import UsageError

BEFORE = Before()
FIRST = legal_step(Tree([0, 0, 0, 1], [7, 5, 6, 8], [5, 9, 9, 9]), BEFORE)
SECOND = legal_step(Tree([0, 0, 0, 1], [9, 5, 6, 8], [5, 8, 9, 10]), next_before(FIRST, BEFORE))
THIRD = legal_step(
    Tree([0, 0, 0, 1], [10, 5, 6, 8], [6, 9, 9, 9]), next_before(SECOND, next_before(FIRST, BEFORE))
)
TURN: list[Row] = [FIRST, SECOND, THIRD]


def rows_of(case: Case) -> list[Row]:
    return [row for row in (case.previous, case.row) if row is not None]


@given(legal_runs(max_turns=3))
def test_legal_runs_pass(rows: list[Row]) -> None:
    assert not screen_batch(pack(rows), CONTEXT).any()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_every_mutation_is_flagged(mutation: Mutation) -> None:
    @given(mutated_cases(mutations=(mutation,)))
    @settings(max_examples=8)
    def check(drawn: tuple[Mutation, Case]) -> None:
        case = drawn[1]
        assert violated(case)
        assert screen_batch(pack(rows_of(case)), case.context)[-1]

    check()


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
@settings(max_examples=300)
def test_no_false_negatives_on_scrambled_runs(rows: list[Row]) -> None:
    checker = Checker(CONTEXT)
    suspicious = screen_batch(pack(rows), CONTEXT)
    for row, flag in zip(rows, suspicious, strict=True):
        condemned = [each for each in checker.step("fused", row) if isinstance(each, Violated)]
        assert flag or not condemned


def test_a_batch_that_begins_in_mid_turn_flags_its_first_step() -> None:
    assert screen_batch(pack(TURN[1:]), CONTEXT).tolist() == [True, False]


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(UsageError, match="one number of steps"):
        screen_batch({"step": Flat(np.zeros(2)), "turn": Flat(np.zeros(3))})


def test_the_token_limit_is_known_across_batches() -> None:
    first = FIRST["committed_len"]
    emitted = THIRD["committed_len_after"] - first + 1
    tight = replace(CONTEXT, max_new_tokens=emitted - 1)
    assert not screen_batch(pack(TURN[1:]), tight)[-1]
    assert screen_batch(pack(TURN[1:]), tight, first_committed_len=first)[-1]
