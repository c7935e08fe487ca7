"""Alarms over a run: each speaks on the run that it is for, and not on one just short of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from invariants.batched import BatchChecker
from invariants.catalogue import CATALOGUE
from invariants.examples import CONTEXT, Before, StepRow, Tree, legal_step
from invariants.outcome import NotChecked, Outcome, Violated
from invariants.run import Checker
from invariants.statistics import MAX_BLOCKS, RunStatistics, Sample, fall
from tests.invariants.pack import pack

NO_LIMIT = replace(CONTEXT, max_new_tokens=None)
OTHER = 61


def step(
    accepted: int, *, depth: int = 3, length: int = 20, second: bool = False, alike: bool = False
) -> StepRow:
    """A legal step: a chain of drafts, `accepted` of them accepted, and a second child of the root."""
    parents = [0, 0, 0, *(node if node > 2 else 1 for node in range(2, depth + 1))]
    tokens = [7, 5, 6, *range(8, 7 + depth)]
    choices = [OTHER] * len(parents)
    path = [1, *range(3, depth + 2)][:accepted]
    if second:
        choices[0] = 6
    else:
        for parent, node in zip([0, *path], path, strict=False):
            choices[parent] = tokens[node]
    if alike:
        tokens = [7, 5, 6, *[5] * (depth - 1)]
        parents, tokens, choices = [0, *range(depth)], [7, *[5] * depth], [OTHER] * (depth + 1)
    return legal_step(
        Tree(parents, tokens, choices), Before(committed_len=length, prompt_len=length), NO_LIMIT
    )


def run(rows: Iterator[StepRow] | list[StepRow]) -> dict[str, Outcome]:
    """What the alarms say; every step is a turn of its own."""
    checker = Checker(NO_LIMIT)
    for turn, row in enumerate(rows):
        assert not [o for o in checker.step("fused", {**row, "turn": turn}) if isinstance(o, Violated)]
    return {outcome.rule: outcome for outcome in checker.finish()}


def alarms(rows: list[StepRow]) -> list[str]:
    return [rule for rule, outcome in run(rows).items() if isinstance(outcome, Violated)]


MIXED = [step(accepted, second=accepted == 1) for accepted in (0, 1, 2, 3)] * 10
LONG_AND_SHORT = [step(3, length=20)] * 40 + [step(0, length=300), step(1, length=300)] * 20
EARLY_AND_LATE = [*MIXED, *MIXED, *[step(0), step(0), step(1), step(0)] * 20]
GENTLE = [step(0), step(1), step(2), step(3), step(1, second=True)] * 10


def served(fails: Callable[[int], bool], column: str, value: Callable[[int], int]) -> list[StepRow]:
    """240 steps of which some accept nothing, each with a value in a column."""
    rows = [step(0 if fails(place) else (1, 3)[place % 2], second=place % 6 == 0) for place in range(240)]
    return [{**row, column: value(place)} for place, row in enumerate(rows)]


def sure(row: StepRow) -> StepRow:
    """The step, by a drafter that gives its first child nine tenths and its second one twentieth."""
    share = {1: np.log(0.9), 2: np.log(0.05)}
    scores = [0.0, share[1], share[2]]
    for parent in row["parents"][3:].tolist():
        scores.append(scores[parent] + share[1])
    return {**row, "draft_logprobs": np.array(scores, np.float32)}


ALARMS: dict[str, list[StepRow]] = {
    "STAT001": [step(0)] * 40,
    "STAT002": [step(1)] * 40,
    "STAT003": [step(3)] * 40,
    "STAT004": [step(0), step(2), step(2)] * 32,
    "STAT005": LONG_AND_SHORT,
    "STAT006": EARLY_AND_LATE,
    "STAT007": [step(0), step(1), step(2), step(3)] * 90,
    "STAT008": [*[step(0, alike=True)] * 30, *GENTLE[:20]],
    "STAT009": served(lambda place: place % 3 == 1, "prompt_id", lambda place: place % 3),
    "STAT010": served(lambda place: place % 3 == 1, "batch_row", lambda place: place % 3),
    "STAT011": [step(0 if 60 <= length < 160 else 3, length=length) for length in range(20, 300)],
    "STAT012": [*MIXED, *MIXED, *[step(0)] * 80, *MIXED],
    "STAT013": [sure(step(accepted, second=accepted == 1)) for accepted in [0] * 19 + [1]] * 5,
}

NEAR_MISSES: dict[str, list[StepRow]] = {
    "STAT001": [*[step(0)] * 40, step(1)],
    "STAT002": [*[step(1)] * 40, step(0)],
    "STAT003": [*[step(3)] * 40, step(2)],
    "STAT004": [*[step(0), step(2), step(2)] * 32, step(3)],
    "STAT005": [
        *[step(3, length=20), step(1, length=20)] * 20,
        *[step(2, length=300), step(1, length=300)] * 20,
    ],
    "STAT006": [*MIXED, *MIXED, *[step(0), step(1), step(2), step(1)] * 20],
    "STAT007": [*[step(0), step(1), step(2), step(3)] * 90, step(1, second=True)],
    "STAT008": [*[step(0, alike=True)] * 20, *GENTLE],
    "STAT009": served(lambda place: place % 3 == 1, "prompt_id", lambda place: place % 3)[:105],
    "STAT010": served(lambda place: place % 6 == 1, "batch_row", lambda place: place % 3),
    "STAT011": [step(0 if 60 <= length < 90 else 3, length=length) for length in range(20, 300)],
    "STAT012": [*MIXED, *MIXED, *[step(0), step(0), step(0), step(1)] * 20, *MIXED],
    "STAT013": [sure(step(accepted, second=accepted == 1)) for accepted in [0, 0, 1]] * 40,
}


@pytest.mark.parametrize("rule", ALARMS)
def test_an_alarm_is_raised_alone(rule: str) -> None:
    assert alarms(ALARMS[rule]) == [rule]


@pytest.mark.parametrize("rule", NEAR_MISSES)
def test_a_near_miss_raises_no_alarm(rule: str) -> None:
    said = run(NEAR_MISSES[rule])
    assert not isinstance(said[rule], Violated)
    assert not isinstance(said[rule], NotChecked), said[rule]


@pytest.mark.parametrize("rule", ALARMS)
def test_batches_give_the_same_statistics(rule: str) -> None:
    rows = [{**row, "turn": turn} for turn, row in enumerate(ALARMS[rule] + NEAR_MISSES[rule])]
    batched, loop = BatchChecker(NO_LIMIT), Checker(NO_LIMIT)
    assert not list(batched.batch("fused", pack(rows), rows.__getitem__))
    for row in rows:
        loop.step("fused", row)
    assert batched._memories["fused"].statistics == loop._memories["fused"].statistics


def test_every_run_rule_has_an_alarm_and_a_near_miss() -> None:
    assert set(ALARMS) == set(NEAR_MISSES) == {rule.id for rule in CATALOGUE if rule.scope == "run"}


def test_a_short_run_is_not_judged() -> None:
    said = run([step(0)] * 31)
    assert said["STAT001"] == NotChecked("STAT001", "31 uncut steps, at least 32 are needed", vacuous=True)


def test_cut_and_unsound_steps_do_not_count() -> None:
    checker = Checker(NO_LIMIT)
    for turn in range(40):
        checker.step("fused", {**step(0), "turn": turn, "stop_reason": "length"})
        checker.step("fused", {**step(1), "turn": turn + 100, "accepted_nodes": np.array([3])})
    said = {outcome.rule: outcome for outcome in checker.finish()}
    assert said["STAT001"] == NotChecked("STAT001", "0 uncut steps, at least 32 are needed", vacuous=True)


def test_memory_stays_flat_and_nothing_is_lost() -> None:
    statistics = RunStatistics()
    facts = Checker(NO_LIMIT).judge("fused", step(2), None, None)[1]
    assert facts is not None
    for _ in range(5000):
        statistics.add(facts)
    assert len(statistics.by_time) <= MAX_BLOCKS
    assert sum(block.count for block in statistics.by_time) == statistics.num_steps == 5000
    assert sum(block.total for block in statistics.by_time) == statistics.num_accepted == 10000


def batch(num_steps: Callable[[int], int], accepted: Callable[[int, int], int]) -> list[StepRow]:
    """Eight requests, four of them at once; a row of the batch goes on with the next when one has ended."""
    waiting, running, rows = list(range(8)), dict[int, tuple[int, int]](), list[StepRow]()
    while waiting or running:
        for row in range(4):
            if row not in running and waiting:
                running[row] = waiting.pop(0), 0
            if row in running:
                request, number = running[row]
                made = step(accepted(request, number), second=number % 12 == 0)
                rows.append({**made, "prompt_id": request, "batch_row": row})
                running[row] = request, number + 1
                if number + 1 == num_steps(request):
                    del running[row]
    return rows


def test_requests_of_a_batch_that_accept_little_are_left_at_its_end() -> None:
    """Each accepts as much at its end as at its beginning: no fall, though the last quarter accepts less."""
    rows = batch(
        lambda request: 120 if request in {2, 6} else 25, lambda request, n: n % 2 + (request % 4 != 2)
    )
    quarter = len(rows) // 4
    means = [
        np.mean([len(row["accepted_nodes"]) for row in part]) for part in (rows[:quarter], rows[-quarter:])
    ]
    assert means[1] < 0.5 * means[0]
    assert "STAT006" not in alarms(rows)


def test_requests_of_a_batch_that_fall_are_seen() -> None:
    rows = batch(lambda _: 200, lambda _, number: (1 + number % 2) if number < 100 else int(number % 5 == 0))
    half = [row for row in rows if row["prompt_id"] < 4]
    assert "STAT006" in alarms(half)


def test_a_fall_is_counted_in_standard_errors() -> None:
    early, late = Sample(100, 300, 1000), Sample(100, 100, 200)
    share, deviations = fall(early, late)
    assert share == pytest.approx(2 / 3)
    assert deviations == pytest.approx(2 / np.sqrt(1 / 100 + 1 / 100))
    assert fall(early, early) == (0.0, 0.0)
