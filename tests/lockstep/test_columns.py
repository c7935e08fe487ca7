"""The recorded best logits: the same as a stable sort of whole rows, ties and NaN included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from workbench.lockstep.recording.columns import top_logits_of

LOGITS = st.sampled_from([np.nan, -np.inf, np.inf, -0.0, 0.0, 1.0, 1.5, 2.0])


@settings(max_examples=300, deadline=None)
@given(
    arrays(np.float32, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9), elements=LOGITS),
    st.integers(1, 10),
)
def test_the_best_logits_are_those_of_a_stable_sort(logits: np.ndarray, num_top: int) -> None:
    """A partition alone keeps any of several equal logits, so the recorded id would be a matter of luck."""
    order = np.argsort(-logits, axis=1, kind="stable")[:, :num_top]
    ids, values = top_logits_of(logits, num_top)
    np.testing.assert_array_equal(ids, order)
    np.testing.assert_array_equal(values, np.take_along_axis(logits, order, axis=1))


@pytest.mark.parametrize("num_values", [3, 40, 4000])
@pytest.mark.parametrize(("width", "num_top"), [(255, 8), (512, 8), (1300, 8), (1300, 300), (4096, 1)])
def test_wide_rows_are_folded_without_losing_a_best_logit(width: int, num_top: int, num_values: int) -> None:
    """A fold that is cut one place too high, or forgets the rest of a row, loses a tie or the last ids."""
    random = np.random.default_rng(width + num_values)
    logits = random.integers(-num_values, 1, (7, width)).astype(np.float32)
    logits[0, -1], logits[1] = 1, -np.inf
    order = np.argsort(-logits, axis=1, kind="stable")[:, :num_top]
    ids, values = top_logits_of(logits, num_top)
    np.testing.assert_array_equal(ids, order)
    np.testing.assert_array_equal(values, np.take_along_axis(logits, order, axis=1))


@pytest.mark.parametrize("num_top", [1, 8])
def test_a_tie_for_the_last_place_goes_to_the_lower_id(num_top: int) -> None:
    ids, _ = top_logits_of(np.zeros((2, 100)), num_top)
    assert ids.tolist() == [list(range(num_top))] * 2
