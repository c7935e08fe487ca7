"""Temperature, top-k and top-p in the order in which public samplers apply them, on one row, in float64.

Top-k keeps whatever is not below the k-th logit, equals of it included. Top-p keeps a token while the more
likely ones together stay below it, lower ids first among equals; the most likely one always stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracing.settings import DecodeSettings

Law = NDArray[np.float64]


def law_of(logits: NDArray[Any], settings: DecodeSettings, *, reverse_equals: bool = False) -> Law:
    """Return the probabilities of all tokens, float64 `[V]`, which sum to 1.

    Args:
        logits: Of one row, `[V]`; the law is computed in their dtype, in float64 if they have less than 32
            bits. NaN is never sampled.
        settings: `temperature`, `sampling_top_k` and `top_p`.
        reverse_equals: Higher ids first among equals, for top-p.
    """
    row = logits if logits.dtype in (np.float32, np.float64) else logits.astype(np.float64)
    scaled = np.where(np.isnan(row), -np.inf, row) / row.dtype.type(settings.temperature)
    if 0 < settings.sampling_top_k < len(scaled):
        least = np.sort(scaled)[-settings.sampling_top_k]
        scaled = np.where(scaled < least, -np.inf, scaled)
    highest = scaled.max()
    if not np.isfinite(highest):  # nothing, or something infinite: these alike
        weights = (scaled == highest).astype(np.float64)
    else:
        weights = np.exp(scaled - highest).astype(np.float64)
    if settings.top_p < 1:
        weights = _nucleus(weights, settings.top_p, reverse_equals=reverse_equals)
    law: Law = weights / weights.sum()
    return law


def _nucleus(weights: Law, top_p: float, *, reverse_equals: bool) -> Law:
    ids = np.arange(len(weights))
    order = np.lexsort((-ids if reverse_equals else ids, -weights))
    mass_before = np.concatenate([[0.0], np.cumsum(weights[order])[:-1]])
    kept = order[mass_before < top_p * weights.sum()]
    nucleus = np.zeros_like(weights)
    nucleus[kept] = weights[kept]
    return nucleus
