"""Rows that a sample decides are rows that the truth passes; what could change the verdict is left open."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.judge.allowance import norms_of
from workbench.judge.measured import GroupRows, measure_groups
from workbench.judge.typical import (
    MIN_ROWS,
    Typical,
    allowances_beside,
    from_truth,
    is_clear,
    typical_errors,
)

ROWS = 24


def measure(ours: Any, truth: Any, samples: tuple[Any, ...], dtype: str, **more: Any) -> GroupRows:
    (group,) = measure_groups(
        [""], ours[None], truth[None], tuple(each[None] for each in samples), dtype, **more
    )
    return group


def rounded(random: np.random.Generator, truth: np.ndarray, spread: float) -> np.ndarray:
    """Errors of rows differ: some rows amplify their rounding a hundred times."""
    rows = 10.0 ** (spread * random.random((len(truth), 1)))
    return truth + 1e-7 * rows * np.abs(truth).max() * random.standard_normal(truth.shape)


@given(
    seed=st.integers(0, 10**6),
    spread=st.sampled_from([0.0, 1.0, 2.0]),
    dtype=st.sampled_from(["float32", "bfloat16"]),
)
def test_what_a_sample_decides_the_truth_passes(seed: int, spread: float, dtype: str) -> None:
    random = np.random.default_rng(seed)
    truth = random.standard_normal((ROWS, 8)) * 10.0 ** random.integers(-3, 3, (ROWS, 1))
    sample = rounded(random, truth, spread)
    typical = typical_errors(truth[None], sample[None])
    ours = sample + 10.0 ** random.uniform(-9, -4) * random.standard_normal(truth.shape) * np.abs(truth)
    beside = measure(ours, sample, (), dtype, typical=typical)
    with_truth = measure(ours, truth, (sample,), dtype)
    # The sizes of a sample's rows are those of the truth but for its rounding.
    clear = beside.error <= 0.999 * beside.allowance.largest
    clear &= beside.error_rms <= 0.999 * beside.allowance.rms
    assert with_truth.passed[clear].all()


def test_a_row_that_is_off_by_more_is_not_decided() -> None:
    random = np.random.default_rng(1)
    truth = random.standard_normal((ROWS, 8))
    sample = rounded(random, truth, 0.0)
    typical = typical_errors(truth[None], sample[None])
    ours = sample.copy()
    ours[5, 3] += 2e-5
    beside = measure(ours, sample, (), "float32", typical=typical)
    assert np.flatnonzero(~beside.passed).tolist() == [5]
    assert measure(sample, sample, (), "float32", typical=typical).passed.all()


def test_a_row_that_is_not_finite_is_not_decided() -> None:
    truth = np.ones((ROWS, 8))
    ours = truth.copy()
    ours[3, 0] = np.nan
    typical = Typical(np.array([1e-6]), np.array([1e-6]))
    assert np.flatnonzero(~measure(ours, truth, (), "float32", typical=typical).passed).tolist() == [3]


def test_few_rows_have_no_typical_error() -> None:
    rows = np.ones((1, MIN_ROWS - 1, 8))
    assert not typical_errors(rows, rows).is_known
    more = np.ones((1, MIN_ROWS, 8))
    assert typical_errors(more, more).is_known
    more[0, :, 0] = np.nan
    assert not typical_errors(more, more).is_known


def test_the_least_of_two_steps_counts_group_by_group() -> None:
    one = Typical(np.array([1.0, 5.0]), np.array([2.0, 2.0]))
    other = Typical(np.array([3.0, 4.0]), np.array([1.0, 9.0]))
    least = one.least(other)
    assert (least.largest.tolist(), least.rms.tolist()) == ([1.0, 4.0], [1.0, 2.0])
    assert one.least(None) is one
    assert one.least(Typical(np.array([0.0]), np.array([0.0]))) is one


@pytest.mark.parametrize(("lead", "clear"), [(1e-2, True), (1e-6, False), (0.0, False)])
def test_a_choice_is_clear_where_no_other_token_comes_near(lead: float, clear: bool) -> None:
    logits = np.zeros((ROWS, 6))
    logits[:, 2] = 10.0
    logits[7, 4] = 10.0 - lead
    typical = Typical(np.array([1e-6]), np.array([1e-6]))
    assert is_clear(logits, typical, "float32") is clear
    allowed = allowances_beside(norms_of(logits), typical, "float32").largest * from_truth("float32")
    assert bool(lead > 2 * allowed[7]) is clear
