"""Exact ranking: best first, ties to the lower index. `topk` promises nothing about ties."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tracing.stages import FloatArray, IntArray


def stable_top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k best of each row, `([R, k] values, [R, k] indices)`, equal values by ascending index.

    Without a tie among the best k + 1 there is one answer, and `topk` finds it; else it is sorted out.

    Args:
        scores: `[R, W]` with k <= W; NaN ranks last.
        k: How many.
    """
    values, indices = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    if not bool((values[:, 1:] < values[:, :-1]).all()):  # a tie, or a NaN, which `topk` takes for the best
        ranked = torch.where(scores.isnan(), -torch.inf, scores)
        indices = ranked.sort(dim=1, descending=True, stable=True).indices[:, :k]
        return scores.gather(1, indices), indices
    return values[:, :k], indices[:, :k]


def best_in_order(scores: FloatArray, num_kept: int) -> IntArray:
    """Return the indices of the `num_kept` best scores, ascending; ties go to the lower index, NaN is last.

    A child never scores above its parent and has the higher flat number, so a kept child's parent is kept.
    """
    ranked = np.where(np.isnan(scores), -np.inf, scores)
    return np.sort(np.argsort(-ranked, kind="stable")[:num_kept])
