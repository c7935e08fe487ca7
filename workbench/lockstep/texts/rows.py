"""Logits along one text by one model, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from reference import teacher
from reference.model import ReferenceModels
from workbench.lockstep.tensors.host import host_floats

MAX_BYTES: Final = 128 << 20
"""Of logits and attention of the rows that run at once, and of the rows that are kept to be compared."""
Floats = NDArray[np.float64]


def most_compared(models: ReferenceModels) -> int:
    """Return how many rows are compared at once, each by the truth and a dozen samples."""
    return max(4, min(32, MAX_BYTES // (13 * 8 * models.teacher.vocab_size)))


class TextRows:
    """Runs the rows of a text; those asked for later go on behind the keys and values of those before."""

    def __init__(self, models: ReferenceModels, tokens: Sequence[int]) -> None:
        config = models.teacher
        size = 8 * (config.vocab_size + 4 * config.num_heads * len(tokens) + 4 * config.intermediate_size)
        self._models, self._tokens = models, tokens
        self._at_once = max(8, MAX_BYTES // size)
        self._past: torch.Tensor | None = None

    def logits(self, first: int, last: int) -> Iterator[tuple[int, Floats]]:
        """Yield logits of the rows `first` to `last`, each row once, as (number of the first, `[n, V]`)."""
        models, past = self._models, self._past
        known = 0 if past is None else min(past.shape[3], first) // self._at_once * self._at_once
        past = None if past is None or not known else past[:, :, :, :known]
        for begin in range(known, last + 1, self._at_once):
            end = min(begin + self._at_once, last + 1)
            positions = torch.arange(begin, end, device=models.device)
            made = teacher.forward(
                models,
                models.tokens(self._tokens[begin:end]),
                positions,
                torch.arange(end, device=models.device)[None] <= positions[:, None],
                past_kv=past,
                num_logits=max(1, end - max(begin, first)),
            )
            self._past = past = made.kv if past is None else torch.cat([past, made.kv], dim=3)
            if end > first:
                yield max(begin, first), host_floats(made.logits).astype(np.float64)

    def at(self, rows: Sequence[int]) -> Floats:
        """Return logits of chosen rows in ascending order, `[n, V]`."""
        found = []
        for start, block in self.logits(rows[0], rows[-1]):
            found += [block[row - start] for row in rows if start <= row < start + len(block)]
        return np.stack(found)
