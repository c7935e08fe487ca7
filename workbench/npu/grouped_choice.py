"""One expert of each group by the softmax over all: no operator of the vendor's chooses so."""

from __future__ import annotations

import torch
from torch import Tensor


def grouped_choice(logits: Tensor, router_scale: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """Return the best expert of each group and what weighs it, int64 and float32 `[R, num_groups]`.

    Args:
        logits: Of the router, `[R, experts]`.
        router_scale: Factor on each expert's score, `[experts]`.
        num_groups: Groups of equal size; of equal scores in one the first is taken.
    """
    scores = torch.softmax(logits.float(), dim=-1)
    size = scores.shape[-1] // num_groups
    best = scores.view(len(scores), num_groups, size).max(dim=-1)
    ids = best.indices + torch.arange(num_groups, device=scores.device) * size
    return ids, best.values * router_scale.float()[ids]
