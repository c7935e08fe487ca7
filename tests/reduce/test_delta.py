"""Delta debugging leaves nothing that could be left out; numbers become as small as a threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.reduce.delta import smallest_list, smallest_number


def first_of(holds: Callable[[Any], bool], asked: list[Any]) -> Callable[[Sequence[Any]], int | None]:
    def keeps(candidates: Sequence[Any]) -> int | None:
        asked.extend(candidates)
        return next((place for place, each in enumerate(candidates) if holds(each)), None)

    return keeps


@settings(max_examples=15)
@given(st.sets(st.integers(0, 20), min_size=1, max_size=3), st.integers(21, 30))
def test_what_is_needed_is_all_that_is_left(needed: set[int], size: int) -> None:
    asked: list[Any] = []
    keeps = first_of(lambda part: needed <= set(part), asked)
    assert smallest_list(tuple(range(size)), keeps) == tuple(sorted(needed))
    assert len(asked) < size * size


@settings(max_examples=15)
@given(st.sets(st.integers(0, 19), min_size=2))
def test_no_single_item_can_be_left_out(odd: set[int]) -> None:
    def holds(part: Any) -> bool:
        kept = set(part) & odd
        return len(kept) >= 2 and len(part) % 2 == 0

    left = smallest_list(tuple(range(20)), first_of(holds, []))
    assert holds(left)
    assert not any(holds(left[:place] + left[place + 1 :]) for place in range(len(left)))


def test_fewest_items_are_kept() -> None:
    assert len(smallest_list(tuple(range(9)), first_of(lambda _: True, []), least=3)) == 3
    assert smallest_list((5,), first_of(lambda _: True, [])) == (5,)


@given(st.integers(1, 300), st.integers(0, 300))
def test_a_number_becomes_its_threshold(number: int, threshold: int) -> None:
    asked: list[Any] = []
    smallest = smallest_number(number, first_of(lambda each: each >= threshold, asked), least=1)
    assert smallest == min(number, max(threshold, 1))
    assert all(1 <= each < number for each in asked)
    assert len(asked) <= 2 * number.bit_length() + 2


@pytest.mark.parametrize("threshold", [0, 16, 17, 95, 96, 97, 999])
def test_only_multiples_are_asked_about(threshold: int) -> None:
    asked: list[Any] = []
    keeps = first_of(lambda each: each >= threshold, asked)
    smallest = smallest_number(704, keeps, least=16, multiple=16)
    assert smallest == min(704, max(16, -(-threshold // 16) * 16))
    assert all(each % 16 == 0 for each in asked)


def test_an_island_is_a_lawful_end() -> None:
    """What stays at 3 and from 50 on is taken at 3 if that is asked about, and stays what it was else."""
    assert smallest_number(100, first_of(lambda each: each in (3, 5) or each >= 50, [])) in (3, 5)
