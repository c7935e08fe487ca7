"""Token ids that say nothing of a text: equal ids stay equal, and which id they were nobody can tell."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


class TokenCover:
    """Replaces each token id by its place in a permutation that only the engine's own memory holds.

    Ids outside the vocabulary stay as they are, so that they are still noticed.

    Args:
        key: Of the permutation; 0 leaves every id as it is.
        vocab_size: Ids below this are replaced.
    """

    def __init__(self, key: int, vocab_size: int) -> None:
        self._order: NDArray[np.int64] | None = None
        if key:
            self._order = np.random.Generator(np.random.PCG64(key)).permutation(vocab_size)

    def ids(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the covered ids, in the same shape."""
        if self._order is None:
            return values
        known = (values >= 0) & (values < len(self._order))
        covered: NDArray[np.int64] = np.where(known, self._order[np.where(known, values, 0)], values)
        return covered

    def list_of(self, values: Iterable[int]) -> list[int]:
        """Return the covered ids of a short list."""
        ids = list(values)
        return ids if self._order is None else [int(each) for each in self.ids(np.array(ids, dtype=np.int64))]
