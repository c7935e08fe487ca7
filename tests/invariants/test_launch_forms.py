"""Rules across requests over other forms: blocks of other sizes, ranks of context parallelism, padding."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest

from invariants.launches.checker import LaunchChecker
from tests.invariants.test_launches import findings, some_mistake
from tests.invariants.toy_engine import ToyEngine
from tests.invariants.toy_mistakes import INSIDE, Change, spoilt
from tests.invariants.toy_rows import SIZES, Row, context_of, on_rank, spread_over

OTHERS = tuple(size for size in SIZES if size != 4)
some_size = pytest.mark.parametrize("size", OTHERS)


@cache
def engine(seed: int, size: int, mistake: str = "") -> tuple[ToyEngine, list[list[Row]]]:
    blocks = (40, 24, 30)[seed % 3] * (2 if size == 2 else 1)
    made = ToyEngine(seed, num_blocks=blocks, asynchronous=bool(seed % 2), mistake=mistake, size=size)
    return made, made.launches(60)


def launches(seed: int, size: int) -> list[list[Row]]:
    return [[dict(row) for row in rows] for rows in engine(seed, size)[1]]


@some_size
def test_lawful_launches_with_other_blocks_are_silent_and_exercise_everything(size: int) -> None:
    seen = Counter[str]()
    for seed in range(6):
        assert not findings(launches(seed, size), context_of(size))
        seen.update(engine(seed, size)[0].seen)
    assert min(seen.values()) > 0, seen


@some_size
@some_mistake
def test_a_planted_mistake_is_named_whatever_the_block(size: int, rule: str, change: Change) -> None:
    found = 0
    for seed in range(2):
        planted = spoilt(every := launches(seed, size), change, 15)
        if planted is not None:
            said = findings(every[: planted[0] + 1], context_of(size))
            found += rule in {each.rule for each in said}
    assert found


@pytest.mark.parametrize("mistake", INSIDE)
def test_a_mistake_of_the_engine_itself_is_named_whatever_the_block(mistake: str) -> None:
    said = Counter[str]()
    for size in (2, 8):
        for seed in range(6):
            said.update(each.rule for each in findings(engine(seed, size, mistake)[1], context_of(size)))
    assert set(INSIDE[mistake]) <= set(said)


@pytest.mark.parametrize(("size", "ranks", "interleave"), [(4, 2, 1), (4, 2, 4), (2, 4, 1), (8, 2, 2)])
def test_rows_of_ranks_of_context_parallelism_are_silent(size: int, ranks: int, interleave: int) -> None:
    stated = spread_over(context_of(size), ranks, interleave)
    for seed in range(2):
        every = launches(seed, size * ranks)
        together = [
            [on_rank(row, rank, ranks, interleave, size) for rank in range(ranks) for row in rows]
            for rows in every
        ]
        assert not findings(together, stated)
        assert not findings(together, context_of(size)), "the rows say it"
        for rank in range(ranks):
            alone = [[row for row in rows if row["cp_rank"] == rank] for rows in together]
            assert not findings(alone, stated)


def test_two_requests_in_one_slot_of_a_rank_are_named() -> None:
    stated, named = spread_over(context_of(4), 2, 1), 0
    for seed in range(3):
        every = [[on_rank(row, 1, 2, 1, 4) for row in rows] for rows in launches(seed, 8)]
        for rows in every:
            mine = [row for row in rows if row["row_kind"] is None and (row["slots"] > 0).any()]
            if len({row["request_id"] for row in mine}) > 1:
                mine[1]["slots"] = np.resize(mine[0]["slots"], len(mine[1]["slots"]))
                mine[1]["group_slots"] = np.stack([mine[1]["slots"]] * 2)
                break
        named += "REQ001" in {each.rule for each in findings(every, stated)}
    assert named == 3


def test_what_is_not_checked_of_spread_requests_is_said() -> None:
    checker = LaunchChecker("fused", spread_over(context_of(4), 2, 1))
    for rows in launches(0, 8):
        checker.launch([on_rank(row, 0, 2, 1, 4) for row in rows])
    for rule in ("REQ002", "REQ003", "REQ005", "REQ006", "REQ007", "REQ010", "REQ012", "REQ014"):
        assert checker.counts[rule].reasons.get("a request's tokens are spread over ranks"), rule
        assert not checker.counts[rule].held
    assert checker.counts["REQ001"].held
    assert checker.counts["REQ009"].held
