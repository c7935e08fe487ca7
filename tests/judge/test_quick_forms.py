"""Quick forms give what the plain ones give, over ties, infinities and NaN."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.judge.allowance import EPSILON, ulp, ulp_of
from workbench.judge.draft_laws import best


@pytest.mark.parametrize("seed", range(8))
def test_the_best_of_many_are_those_of_a_whole_sort(seed: int) -> None:
    random = np.random.default_rng(seed)
    for number in range(200):
        size, count = int(random.integers(1, 80)), int(random.integers(1, 12))
        scores = random.integers(-4, 4, size).astype(float) if number % 2 else random.standard_normal(size)
        for value, share in ((np.nan, 0.1), (-np.inf, 0.2), (np.inf, 0.05)):
            scores[random.random(size) < share] = value
        if number % 7 == 0:
            scores[:] = random.choice([np.nan, -np.inf], size)
        numbers = random.permutation(size)
        whole = numbers[np.lexsort((numbers, -scores))][:count]
        np.testing.assert_array_equal(best(scores, numbers, count), whole)


@pytest.mark.parametrize("dtype", EPSILON)
def test_a_unit_in_the_last_place_of_one_number(dtype: str) -> None:
    random = np.random.default_rng(0)
    sizes = np.abs(random.standard_normal(100)) * 10.0 ** random.integers(-40, 30, 100)
    for size in (0.0, np.inf, np.nan, 1.0, 2.0, 1e-45, 1e-300, 1e300, *sizes.tolist()):
        np.testing.assert_equal(ulp_of(size, dtype), float(ulp(np.array(size), dtype)))
