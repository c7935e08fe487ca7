"""What wrong experts look like: numbered within a rank, or kept by a vote of the batch."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracing.models import Experts
from tracing.stages import IntArray

FEWEST_ROWS: Final = 4
"""With fewer rows anything looks like a vote."""


def numbered_within(given: IntArray, best: IntArray, experts: Experts) -> str:
    """Say in how many ranks, or that in groups, experts are numbered; "" if they are not.

    Args:
        given: What came for malformed rows, `[R, num_groups]`.
        best: The best of each group, of the same shape.
        experts: How many, in how many groups.
    """
    came = np.sort(given, axis=-1)
    for ranks in range(2, experts.num_groups + 1):
        if experts.num_groups % ranks == 0:
            local = np.sort(best % (experts.num_experts // ranks), axis=-1)
            if np.array_equal(came, local):
                what = "group" if ranks == experts.num_groups else f"rank of {ranks}"
                return f"; they are the right ones, numbered within their {what}: ids have to be global"
    return ""


def kept_by_vote(scores: NDArray[np.float64], chosen: IntArray, experts: Experts) -> str:
    """Say that a layer's choices are the best of those that the launch chose at all; "" if they are not.

    Args:
        scores: True logits of a layer, `[R, num_experts]`.
        chosen: Experts of its rows, ascending, `[R, num_groups]`.
        experts: How many, in how many groups.
    """
    if len(chosen) < FEWEST_ROWS or (chosen < 0).any():
        return ""
    by_group: NDArray[Any] = scores.reshape(len(scores), experts.num_groups, experts.group_size)
    local = chosen - np.arange(experts.num_groups) * experts.group_size
    most = 0
    for group in range(experts.num_groups):
        used = np.unique(local[:, group])
        most = max(most, len(used))
        if (used[by_group[:, group, used].argmax(axis=-1)] != local[:, group]).any():
            return ""
    if most >= experts.group_size:
        return ""
    return (
        f"; every row has the best of at most {most} experts of each group that its launch uses, as where a "
        "vote of the batch keeps them: what a row gets depends on the other rows"
    )
