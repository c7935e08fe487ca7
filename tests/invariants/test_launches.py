"""Rules across requests: lawful launches of a paged engine are silent in every form; mistakes are named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache

import numpy as np
import pytest

from invariants.catalogue import CATALOGUE
from invariants.context import RunContext
from invariants.launches.checker import LaunchChecker
from invariants.launches.rows import READ
from invariants.outcome import Violated
from tests.invariants.toy_engine import ToyEngine
from tests.invariants.toy_mistakes import INSIDE, MISTAKES, Change, spoilt
from tests.invariants.toy_rows import CONTEXT, Row
from tracing.finding import Finding

OF_LAUNCHES = {rule.id for rule in CATALOGUE if rule.scope == "launch"}
SOME = [(rule, change) for rule, changes in MISTAKES.items() for change in changes]
some_mistake = pytest.mark.parametrize(
    ("rule", "change"), SOME, ids=lambda each: getattr(each, "__name__", each)
)


@cache
def engine(seed: int) -> tuple[ToyEngine, list[list[Row]]]:
    made = ToyEngine(seed, num_blocks=(40, 24, 30)[seed % 3], asynchronous=bool(seed % 2))
    return made, made.launches(100)


def launches(seed: int) -> list[list[Row]]:
    return [[dict(row) for row in rows] for rows in engine(seed)[1]]


def findings(every: Iterable[list[Row]], context: RunContext = CONTEXT) -> list[Finding]:
    checker = LaunchChecker("fused", context)
    outcomes = (outcome for rows in every for outcome in checker.launch(rows))
    return [each for outcome in outcomes if isinstance(outcome, Violated) for each in outcome.findings]


def test_thousands_of_lawful_launches_are_silent_and_exercise_everything() -> None:
    seen, counts = Counter[str](), Counter[str]()
    for seed in range(21):
        checker = LaunchChecker("fused", CONTEXT)
        for rows in launches(seed):
            said = [each for each in checker.launch(rows) if isinstance(each, Violated)]
            assert not said, said
        seen.update(engine(seed)[0].seen)
        counts.update({rule: each.held for rule, each in checker.counts.items()})
    assert min(seen.values()) > 20, seen
    assert set(counts) == OF_LAUNCHES
    assert min(counts.values()) > 30, counts


@pytest.mark.parametrize("seed", range(4))
def test_lawful_launches_are_silent_without_any_columns(seed: int) -> None:
    dice = np.random.default_rng(seed)
    for _ in range(6):
        gone = {name for name in READ[8:] if dice.random() < 0.25} - {"launch", "request_id", "row_kind"}
        every = [[{k: v for k, v in row.items() if k not in gone} for row in rows] for rows in launches(seed)]
        assert not findings(every), gone


def test_lawful_launches_are_silent_in_any_order_of_rows_and_from_any_launch_on() -> None:
    dice = np.random.default_rng(3)
    for seed in range(4):
        every = launches(seed)
        mixed = [[rows[i] for i in dice.permutation(len(rows))] for rows in every]
        assert not findings(mixed)
        assert not findings(mixed[int(dice.integers(5, 60)) :])


def test_rejected_rows_that_are_written_nowhere_are_silent() -> None:
    """Slot -1 on the last rows of a step, as engines give it to rejected and to over-limit ones."""
    dice, num_gone = np.random.default_rng(5), 0
    every = launches(2)
    for row in (row for rows in every for row in rows if row.get("slots") is not None):
        size = len(row["slots"])
        if row.get("row_kind") is not None or size < 2:
            continue
        gone = np.arange(size) >= dice.integers(1, size)
        num_gone += int(gone.sum())
        for name in ("slots", "group_slots"):
            if row.get(name) is not None:
                row[name] = np.where(np.resize(gone, np.shape(row[name])), -1, row[name])
    assert num_gone > 100
    assert not findings(every)


def test_ranks_have_memories_of_their_own() -> None:
    one, two = launches(1), launches(2)
    apart = [rows for pair in zip(one, ranked(two, dp_rank=1), strict=False) for rows in pair]
    assert not findings(apart)
    assert not findings([rows + more for rows, more in zip(one, ranked(one, tp_rank=1), strict=True)])
    assert findings([rows for pair in zip(one, two, strict=False) for rows in pair])


def ranked(every: list[list[Row]], **ranks: int) -> list[list[Row]]:
    return [[row | ranks for row in rows] for rows in every]


@some_mistake
def test_a_planted_mistake_is_named_with_its_request_and_launch(rule: str, change: Change) -> None:
    found = 0
    for seed in range(3):
        every = launches(seed)
        planted = spoilt(every, change, 25)
        if planted is None:
            continue
        index, row = planted
        found += 1
        assert not findings(every[:index])
        said = [each for each in findings(every[: index + 1]) if each.rule == rule]
        assert said, f"{change.__name__} in launch {index}"
        assert f"launch {row['launch']}" in said[0].message
        assert change.__name__.startswith("padd") or any(
            f"{row['request_id']} " in each.message for each in said
        )
    assert found >= 2


@pytest.mark.parametrize("mistake", INSIDE)
def test_a_mistake_of_the_engine_itself_is_named(mistake: str) -> None:
    said = Counter[str]()
    for seed in range(6):
        made = ToyEngine(seed, num_blocks=(40, 24, 30)[seed % 3], mistake=mistake)
        said.update(each.rule for each in findings(made.launches(60)))
    assert set(INSIDE[mistake]) <= set(said)
    if mistake in ("drop-skipped", "resume-elsewhere"):
        assert set(said) == set(INSIDE[mistake])


def test_every_rule_of_launches_is_seen_to_fail() -> None:
    assert {*MISTAKES, *(rule for rules in INSIDE.values() for rule in rules)} == OF_LAUNCHES
