"""A batch checker says, counts and remembers what the loop does, on legal and on spoilt runs."""

from __future__ import annotations

from collections.abc import Sequence
from unittest.mock import patch

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from invariants.batch import group
from invariants.batched import BatchChecker
from invariants.examples import CONTEXT, Before, Tree, legal_step
from invariants.inputs import Row
from invariants.outcome import NotChecked, Outcome, Violated
from invariants.run import MAX_PARKED, Checker
from invariants.strategies import legal_runs
from tests.invariants.forms import FIRST, SECOND, THIRD
from tests.invariants.pack import pack
from tests.invariants.test_hostile_rows import hostile_rows
from tests.invariants.test_prefilter import scrambled_runs

TREE = Tree([0, 0], [7, 5], [61, 61])


def violated(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome.rule for outcome in outcomes if isinstance(outcome, Violated)]


def condemned(outcomes: Sequence[Outcome]) -> bool:
    return bool(violated(outcomes))


def check_in_batches(rows: list[Row], size: int) -> tuple[BatchChecker, dict[int, tuple[Outcome, ...]]]:
    checker, said = BatchChecker(CONTEXT), {}
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        for number, outcomes in checker.batch("fused", pack(part), part.__getitem__):
            said[start + number] = outcomes
    return checker, said


@st.composite
def interleaved(draw: st.DrawFn) -> list[Row]:
    """Requests of one batch, whose steps a recorder writes in turns."""
    runs = [draw(legal_runs(max_turns=2, max_steps=4)) for _ in range(draw(st.integers(2, 3)))]
    queues = [
        [{**row, "prompt_id": number, "slots": row["slots"] + 256 * number} for row in rows]
        for number, rows in enumerate(runs)
    ]
    rows: list[Row] = []
    while any(queues):
        rows.append(draw(st.sampled_from([queue for queue in queues if queue])).pop(0))
    return rows


@given(
    st.one_of(legal_runs(max_turns=3, max_steps=6), interleaved(), scrambled_runs(), hostile_rows()),
    st.integers(1, 9),
    st.booleans(),
)
@settings(max_examples=80)
def test_batches_say_what_the_loop_says(rows: list[Row], size: int, stretched: bool) -> None:
    """Catches, where gaps between steps of one form are filled, what is taken from a step filled in."""
    loop = Checker(CONTEXT)
    expected = {number: loop.step("fused", row) for number, row in enumerate(rows)}
    share, stretch = (0, 1) if stretched else (group.MIN_SHARE, group.MIN_STRETCH)
    with patch.multiple(group, MIN_SHARE=share, MIN_STRETCH=stretch):
        checker, said = check_in_batches(rows, 4 * size if stretched else size)
    assert said == {number: outcomes for number, outcomes in expected.items() if condemned(outcomes)}
    assert checker.counts == loop.counts
    assert checker.finish() == loop.finish()
    assert checker.totals() == loop.totals()


@given(interleaved())
@settings(max_examples=20)
def test_requests_that_take_turns_are_each_followed(rows: list[Row]) -> None:
    checker = Checker(CONTEXT)
    assert not any(condemned(checker.step("fused", row)) for row in rows)
    assert checker.counts["fused"]["STEP001"].held == sum(row["step"] > 0 for row in rows)


@given(interleaved(), st.data(), st.integers(1, 9))
@settings(max_examples=20)
def test_a_row_under_another_prompts_number_is_missed_in_its_own(
    rows: list[Row], data: st.DataObject, size: int
) -> None:
    """Catches a trace in which one row is lost from its turn while others go on in between."""
    last = {(row["prompt_id"], row["turn"]): number for number, row in enumerate(rows)}
    inner = [n for n, row in enumerate(rows) if row["step"] and n not in last.values()]
    assume(inner)
    wrong = data.draw(st.sampled_from(inner))
    spoilt = [{**row, "prompt_id": 99} if number == wrong else row for number, row in enumerate(rows)]
    _, said = check_in_batches(spoilt, size)
    assert [broken for outcomes in said.values() for broken in violated(outcomes)] == ["STEP001"]


def test_a_break_between_steps_is_found_behind_another_turn() -> None:
    """Catches a resumed step that is passed because a sound one of its form was judged before it."""
    rows = [
        {**row, "prompt_id": prompt, "slots": row["slots"] + 256 * prompt}
        for row in (FIRST, SECOND, THIRD)
        for prompt in range(3)
    ]
    rows[-1] = {**rows[-1], "kv_digest_before": 1, "kv_digest_after": None}
    rows[-2] = {**rows[-2], "kv_digest_after": None}
    rows[-3] = {**rows[-3], "kv_digest_after": None}
    _, said = check_in_batches(rows, len(rows))
    assert {number: violated(outcomes) for number, outcomes in said.items()} == {8: ["KV004"]}


def test_a_turn_that_begins_again_with_a_batch_is_no_new_turn() -> None:
    """The first step of a batch is prefiltered like any other, which sees nothing of the batch before."""
    rows = [legal_step(TREE, Before()), legal_step(TREE, Before())]
    _, said = check_in_batches(rows, 1)
    assert {number: violated(outcomes) for number, outcomes in said.items()} == {1: ["STEP001"]}


def test_steps_that_lack_another_column_are_of_another_kind() -> None:
    """Of two batches that lack one column each, the second was counted as the first one's kind."""
    row = {**legal_step(TREE, Before()), "commit_fallback": None}
    lacking = [
        {**row, "turn": number, **dict.fromkeys(names)}
        for number, names in enumerate((["prefix_visible"], ["other_visible"]))
    ]
    loop = Checker(CONTEXT)
    for each in lacking:
        loop.step("fused", each)
    checker, _ = check_in_batches(lacking, 1)
    assert checker.counts == loop.counts


def test_only_so_many_turns_are_remembered() -> None:
    """Memory does not grow with the length of a run; a turn that began too long ago begins anew."""
    checker = Checker(CONTEXT)
    first, second = legal_step(TREE, Before()), legal_step(TREE, Before(step=1))
    checker.step("fused", first)
    for turn in range(1, MAX_PARKED + 2):
        checker.step("fused", {**first, "turn": turn})
    outcomes = {outcome.rule: outcome for outcome in checker.step("fused", second)}
    assert isinstance(outcomes["STEP001"], NotChecked)


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
