"""Chains of row digests: one number that tells whether a cache holds the same rows in the same order.

A row is digested where it lives (xxh3_64 over its bytes, native dtype); here digests are only joined.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

ODD_PRIME: Final = 0x9E3779B185EBCA87
"""Multiplier of the chain: the first 64-bit prime of the xxHash family.

Odd, so multiplying loses nothing modulo 2^64: chains that differ stay different under the same further rows.
"""

EMPTY: Final = 0
"""Chain over no rows."""

_MODULUS: Final = 1 << 64


def chain(before: int, rows: NDArray[np.uint64] | Any) -> int:
    """Return the chain after appending rows: for each row, `h = h * ODD_PRIME + row` modulo 2^64.

    Order counts, so a permuted cache differs; a prefix is a prefix, so
    `kv_digest_after == chain(kv_digest_before, kv_row_digests[accepted path])`.

    Args:
        before: Chain so far, `EMPTY` for none; uint64 range.
        rows: Row digests in order, uint64 `[R]`.
    """
    value = int(before)
    for row in np.asarray(rows, dtype=np.uint64).tolist():
        value = (value * ODD_PRIME + row) % _MODULUS
    return value
