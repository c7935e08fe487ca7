"""The allowance comes from the reference's own error at the path's dtype, never from the path."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracing.errors import UsageError
from workbench.judge.allowance import FLOOR_ULPS, largest, norms_of, root_mean_square, row_allowances, ulp


@given(st.floats(2.0**-120, 2.0**120))
def test_ulp_of_float32_is_numpys(magnitude: float) -> None:
    value = np.float32(magnitude)
    assert ulp(np.array(float(value)), "float32") == np.spacing(value)


@given(st.floats(2.0**-14, 60000))
def test_ulp_of_float16_is_numpys(magnitude: float) -> None:
    value = np.float16(magnitude)
    assert ulp(np.array(float(value)), "float16") == np.spacing(value)


@pytest.mark.parametrize(
    ("magnitude", "expected"), [(1.0, 2.0**-7), (1.99, 2.0**-7), (2.0, 2.0**-6), (100.0, 0.5)]
)
def test_ulp_of_bfloat16_has_seven_bits(magnitude: float, expected: float) -> None:
    assert ulp(np.array(magnitude), "bfloat16") == expected


def test_two_rows_of_equal_error_have_a_multiple_of_three_times_it_and_the_floor() -> None:
    truth = np.array([[1.0, -8.0], [8.0, 1.0]])
    sample = truth + np.array([[0.25, -0.5], [0.5, 0.0]])
    allowance = row_allowances(truth, (sample,), "float32").largest
    floor = FLOOR_ULPS["float32"] * 2.0**-20  # one ULP of 8 in float32
    assert allowance.tolist() == [4 * 3 * 0.5 + floor] * 2


def test_a_row_with_a_large_own_error_has_a_multiple_of_that() -> None:
    truth = np.full((9, 4), 8.0)
    sample = truth + 0.25
    sample[4] += 3.75
    allowance = row_allowances(truth, (sample,), "float32").largest
    assert allowance[4] == pytest.approx(4 * 4.0, abs=1e-5)
    assert allowance[0] == pytest.approx(4 * 3 * 0.25, abs=1e-5)


@pytest.mark.parametrize(("dtype", "factor"), [("float32", 4), ("bfloat16", 2), ("float16", 2)])
def test_float32_has_twice_the_room_of_half_precisions(dtype: str, factor: int) -> None:
    truth = np.full((3, 4), 8.0)
    allowance = row_allowances(truth, (truth + 1.0,), dtype).largest
    floor = FLOOR_ULPS[dtype] * float(ulp(np.array(8.0), dtype))
    assert allowance.tolist() == [factor * 3 * 1.0 + floor] * 3


def test_one_row_of_the_reference_gone_wild_does_not_widen_the_others() -> None:
    """Attention sinks have tiny values and large relative errors; a maximum would let bugs through."""
    truth, sample = np.ones((21, 4)), np.ones((21, 4)) + 1e-6
    sample[0] = 2.0
    assert row_allowances(truth, (sample,), "float32").largest[1:].max() < 2e-5


def test_a_sample_that_is_exact_by_chance_still_leaves_a_budget() -> None:
    truth, sample = np.ones((21, 4)), np.ones((21, 4)) + 1e-5
    sample[3] = 1.0
    assert row_allowances(truth, (sample,), "float32").largest[3] > 5e-5
    alone = row_allowances(truth[:1], (truth[:1],), "float32").largest
    assert alone.tolist() == [FLOOR_ULPS["float32"] * 2.0**-23]


def test_the_largest_of_several_samples_counts() -> None:
    truth = np.ones((1, 4))
    allowance = row_allowances(truth, (truth + 1e-6, truth - 1e-3, truth), "float32").largest
    assert allowance[0] == pytest.approx(12e-3, rel=1e-3)


def test_a_sample_that_overflows_is_no_allowance() -> None:
    truth = np.ones((2, 4))
    lost = truth.copy()
    lost[0, 1] = np.inf
    allowance = row_allowances(truth, (lost,), "float16").largest
    assert np.isnan(allowance[0])
    assert np.isfinite(allowance[1])
    both = row_allowances(truth, (lost, truth + 0.01), "float16").largest
    assert np.isfinite(both).all()
    assert np.isnan(row_allowances(truth, (), "float16").largest).all()


def test_a_row_of_zeros_has_the_smallest_budget() -> None:
    zeros = np.zeros((1, 4))
    allowance = row_allowances(zeros, (zeros,), "float32")
    assert 0 < allowance.largest[0] < 1e-40
    assert 0 < allowance.rms[0] < 1e-40


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(UsageError, match="float32, bfloat16, float16, got 'int8'"):
        row_allowances(np.ones((1, 1)), (), "int8")


@pytest.mark.parametrize("shape", [(3, 40_000), (1, 7), (2, 5, 33)])
def test_norms_a_few_rows_at_a_time_are_those_of_all_at_once(shape: tuple[int, ...]) -> None:
    """To the bit, in any width, with rows that are not finite in between."""
    random = np.random.default_rng(3)
    truth = random.standard_normal(shape)
    rows = (truth + 1e-3 * random.standard_normal(shape)).astype(np.float32)
    rows[..., -1, 0] = np.inf
    error = rows.astype(np.float64) - truth
    made = norms_of(rows, truth)
    assert np.array_equal(made.largest, largest(error))
    assert np.array_equal(made.rms, root_mean_square(error))
    assert np.array_equal(norms_of(rows).largest, largest(rows))
