"""The chain's laws: order counts, a prefix composes, an early difference is never forgotten."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tracing.digest import EMPTY, ODD_PRIME, chain

ROWS = st.lists(st.integers(0, 2**64 - 1), max_size=20)


@given(ROWS, ROWS)
def test_a_chain_over_two_parts_is_the_chain_over_both(first: list[int], second: list[int]) -> None:
    joined = np.array(first + second, dtype=np.uint64)
    assert chain(chain(EMPTY, first), second) == chain(EMPTY, joined)


@given(ROWS.filter(bool), st.integers(1, 2**64 - 1))
def test_a_changed_row_changes_every_later_chain(rows: list[int], change: int) -> None:
    """Catches a stale cache row: one wrong row early on must still show after any number of right ones."""
    changed = [rows[0] ^ change, *rows[1:]]
    assert chain(EMPTY, rows) != chain(EMPTY, changed)


def test_order_counts_and_zero_rows_count_in_a_used_cache() -> None:
    """Catches swapped rows, which any sum would miss."""
    assert chain(EMPTY, [1, 2]) != chain(EMPTY, [2, 1])
    assert chain(5, [0]) == 5 * ODD_PRIME % 2**64 != 5
    assert ODD_PRIME % 2 == 1
