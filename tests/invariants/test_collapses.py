"""Collapses of acceptance: found along every axis, and never on runs that are only uneven."""

from __future__ import annotations

import numpy as np
import pytest

from invariants.bands import MAX_BINS, Axis
from invariants.collapse import Collapse, explained
from invariants.facts import Facts
from invariants.rule import FloatArray, IntArray
from invariants.statistics import RunStatistics
from invariants.thresholds import Thresholds

DEPTH = 5
Random = np.random.Generator


def facts(prompt: IntArray, rates: FloatArray, random: Random) -> Facts:
    """Steps of prompts that take turns, each step with its own rate per depth."""
    size = len(prompt)
    passed = random.random((size, DEPTH)) < np.asarray(rates)[:, None]
    accepted = np.cumprod(passed, axis=1).sum(axis=1)
    made = Facts.zeros(size)
    made.prompt_id[:], made.num_accepted[:], made.deepest[:] = prompt, accepted, DEPTH
    made.could_go_on[:] = accepted < DEPTH
    made.batch_row[:] = -1
    for each in np.unique(prompt):
        mine = prompt == each
        made.step[mine] = np.arange(mine.sum())
        made.committed_len[mine] = 100 + 7 * each + np.cumsum(accepted[mine] + 1) - accepted[mine] - 1
    return made


def found(made: Facts) -> tuple[Collapse, ...]:
    statistics = RunStatistics()
    statistics.add(made)
    return explained(statistics.bands, Thresholds())


def turns(num_prompts: int, steps: int) -> IntArray:
    return np.tile(np.arange(num_prompts), steps)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("axis", ["prompt", "batch_row", "length", "step", "time", "in_block"])
def test_a_collapse_is_named_by_what_explains_it(axis: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    prompt = np.repeat(np.arange(6), 150) if axis == "time" else turns(6, 150)
    rates = random.uniform(0.55, 0.9, 6)[prompt]
    made = facts(prompt, rates, random)
    where = {
        "prompt": (prompt == 1) | (prompt == 4),
        "batch_row": random.integers(0, 4, len(prompt)) == 1,
        "length": (made.committed_len >= 180) & (made.committed_len < 300),
        "step": made.step >= 100,
        "time": (np.arange(len(prompt)) > 380) & (np.arange(len(prompt)) < 560),
        "in_block": made.committed_len % 128 >= 96,
    }[axis]
    made.num_accepted[where] = 0
    made.could_go_on[:] = made.num_accepted < DEPTH
    if axis == "batch_row":
        made.batch_row[:] = np.where(where, 1, random.choice([0, 2, 3], len(prompt)))
    collapses = found(made)
    assert {each.axis for each in collapses} == {axis}, collapses
    if axis == "prompt":
        assert [each.low for each in collapses] == [1, 4]
    if axis == "length":
        assert 170 <= collapses[0].low <= 190
        assert 290 <= collapses[0].high <= 310


def test_a_collapse_below_the_first_depth_is_found() -> None:
    """Catches a look at the mean, or at the first depth alone."""
    random = np.random.default_rng(0)
    prompt = turns(4, 120)
    made = facts(prompt, np.full(len(prompt), 0.8), random)
    made.num_accepted[prompt == 2] = np.minimum(made.num_accepted[prompt == 2], 1)
    made.could_go_on[:] = True
    assert [(each.axis, each.low, each.depth) for each in found(made)] == [("prompt", 2, 2)]


@pytest.mark.parametrize("seed", range(300))
def test_uneven_runs_raise_nothing(seed: int) -> None:
    """Prompts of very different difficulty, and texts with easy and hard stretches, are legal."""
    random = np.random.default_rng(seed)
    num_prompts = int(random.choice([1, 2, 6, 20]))
    prompt = turns(num_prompts, int(random.choice([40, 150, 600])))
    rates = random.uniform(0.3, 0.92, num_prompts)[prompt]
    hard = random.random(len(prompt)) < 1 / 40
    rates = np.where(np.cumsum(hard) % 2 == 1, rates * random.uniform(0.4, 1.0), rates)
    assert found(facts(prompt, rates, random)) == ()


def test_an_axis_stays_small_and_counts_the_same_in_any_pieces() -> None:
    values, tried = np.arange(5000), np.ones((5000, 3, 2), np.int64)
    places = np.zeros((5000, 3), np.int64)
    whole, pieces = Axis(), Axis()
    whole.add(values, tried, 0, places)
    for start in range(0, 5000, 7):
        part = slice(start, start + 7)
        pieces.add(values[part], tried[part], start, places[part])
    assert whole == pieces
    assert (whole.width, len(whole.counts)) == (8, 625)
    assert len(whole.counts) <= MAX_BINS
