"""Leaning errors: a mistake far below what one row may be off by is named, rounding of any kind never is."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.judge.paired import LAW_LEANS, LEANS, Paired

WIDTH = 40
ROWS = 6


def measured(
    seed: int,
    *,
    made: float = 0.0,
    shared: float = 0.0,
    more: float = 1.0,
    size: float = 0.1,
    groups: int = 80,
) -> Paired:
    """One run: the path rounds `more` than the samples, a `shared` part of it belongs to its prefix."""
    random = np.random.default_rng(seed)
    paired = Paired()
    basis = random.normal(size=(8, WIDTH))  # errors go through few directions, as through a head
    prefixes = random.normal(size=(4, 8))
    for _ in range(groups):
        added = size * random.normal(size=(ROWS, 8)) @ basis / 3

        def error(prefix: int, scale: float) -> np.ndarray:
            own = random.normal(size=(ROWS, 8)) + shared * prefixes[prefix]
            return 0.2 * scale * own @ basis / 3

        paired.add("a mistake", error(0, more) + made * added, [error(1, 1), error(2, 1), error(3, 1)], added)
        paired.add("its opposite", error(0, more) + made * added, [error(1, 1)], -added)
    return paired


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("size", "groups"), [(0.1, 400), (0.2, 120), (1.0, 60)])
def test_a_mistake_is_named(seed: int, size: float, groups: int) -> None:
    """The smallest makes half of what rounding makes."""
    made = measured(seed, made=1.0, size=size, groups=groups).made()
    assert made is not None
    assert made.clause == "a mistake"
    assert LEANS[0] < made.lean < LEANS[1]


@pytest.mark.parametrize("shared", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("more", [0.3, 1.0, 2.0, 5.0])
def test_rounding_is_never_named(shared: float, more: float) -> None:
    for seed in range(60):
        assert measured(seed, shared=shared, more=more).made() is None


@pytest.mark.parametrize("made", [0.25, 2.0, -1.0])
def test_another_share_of_a_mistake_is_another_mistake(made: float) -> None:
    found = measured(0, made=made).made()
    assert found is None or found.clause == "its opposite"


@pytest.mark.parametrize("seed", range(10))
def test_groups_that_say_little_do_not_spoil_a_case(seed: int) -> None:
    """With one stake for all, many groups in which rounding hides the mistake outweigh forty clear ones."""
    random, paired = np.random.default_rng(seed), Paired()
    for number in range(240):
        added = random.normal(size=(ROWS, WIDTH)) * (1.0 if number % 6 == 0 else 0.002)
        noise = 0.3 * random.normal(size=(4, ROWS, WIDTH))
        paired.add("a mistake", added + noise[0], list(noise[1:]), added)
        paired.add("none", noise[0], list(noise[1:]), added)
    made = paired.made()
    assert made is not None
    assert made.clause == "a mistake"


def test_a_law_that_is_half_as_far_off_is_named_where_it_may_be() -> None:
    for leans, named in ((LAW_LEANS, True), (LEANS, False)):
        random, paired = np.random.default_rng(1), Paired()
        for _ in range(80):
            added = random.normal(size=(ROWS, WIDTH))
            noise = 0.1 * random.normal(size=(2, ROWS, WIDTH))
            paired.add("the law", 0.45 * added + noise[0], [noise[1]], added, leans)
        assert (paired.made() is not None) == named


def test_few_rows_prove_nothing() -> None:
    assert measured(0, made=1.0, groups=15).made() is None


def test_what_the_reference_itself_shows_is_no_mistake() -> None:
    random, paired = np.random.default_rng(0), Paired()
    for _ in range(200):
        added = random.normal(size=(ROWS, WIDTH))
        noise = 0.1 * random.normal(size=(2, ROWS, WIDTH))
        paired.add("a mistake", added + noise[0], [0.5 * added + noise[1]], added)
    assert paired.made() is None


def test_values_that_are_not_finite_are_left_out() -> None:
    paired, rows = Paired(), np.ones((2, 3))
    paired.add("a mistake", rows * np.nan, [rows], rows)
    paired.add("a mistake", rows, [rows], rows * 0)
    assert paired.by_clause["a mistake"].groups == 0
