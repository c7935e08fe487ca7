"""A batch checker says, counts and remembers what the loop does, on legal and on spoilt runs."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from invariants.batched import BatchChecker
from invariants.examples import CONTEXT
from invariants.inputs import Row
from invariants.outcome import Outcome, Violated
from invariants.run import Checker
from invariants.screens.pack import pack
from invariants.strategies import legal_runs
from tests.invariants.test_hostile_rows import hostile_rows
from tests.invariants.test_screens import scrambled_runs


def condemned(outcomes: Sequence[Outcome]) -> bool:
    return any(isinstance(outcome, Violated) for outcome in outcomes)


def check_in_batches(rows: list[Row], size: int) -> tuple[BatchChecker, dict[int, tuple[Outcome, ...]]]:
    checker, said = BatchChecker(CONTEXT), {}
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        for number, outcomes in checker.batch("fused", pack(part), part.__getitem__):
            said[start + number] = outcomes
    return checker, said


@given(st.one_of(legal_runs(max_turns=3, max_steps=6), scrambled_runs(), hostile_rows()), st.integers(1, 9))
@settings(max_examples=60)
def test_batches_say_what_the_loop_says(rows: list[Row], size: int) -> None:
    loop = Checker(CONTEXT)
    expected = {number: loop.step("fused", row) for number, row in enumerate(rows)}
    checker, said = check_in_batches(rows, size)
    assert said == {number: outcomes for number, outcomes in expected.items() if condemned(outcomes)}
    assert checker.counts == loop.counts
    assert checker.finish() == loop.finish()
    assert checker.totals() == loop.totals()


@given(legal_runs(max_turns=2, max_steps=6))
@settings(max_examples=10)
def test_legal_steps_of_a_known_kind_are_never_asked_for(rows: list[Row]) -> None:
    checker = BatchChecker(CONTEXT)
    assert not list(checker.batch("fused", pack(rows), rows.__getitem__))
    asked: list[int] = []

    def row_at(number: int) -> Row:
        asked.append(number)
        return later[number]

    later = [{**row, "turn": row["turn"] + 5} for row in rows]
    assert not list(checker.batch("fused", pack(later), row_at))
    assert set(asked) <= {0, len(rows) - 1, len(rows) - 2, *openings(rows)}


def openings(rows: list[Row]) -> list[int]:
    return [number for number, row in enumerate(rows) if row["step"] == 0]
