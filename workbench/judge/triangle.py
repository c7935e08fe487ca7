"""One row three ways on the tested path's own backend: packed in the tree, alone, and by re-prefill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from numpy.typing import NDArray

from workbench.judge.blame import agrees

MEANINGS: Final[dict[tuple[bool, bool, bool], tuple[str, str]]] = {
    (False, True, True): (
        "tree",
        "alone and by re-prefill the row is right: the tree call is wrong (mask, positions or packing)",
    ),
    (False, True, False): (
        "row_count",
        "alone the row is right, with several rows it is not: the kernel depends on the row count",
    ),
    (False, False, True): (
        "cache",
        "only re-prefill is right: the cached prefix, or the path that reads it, is wrong",
    ),
    (False, False, False): (
        "everywhere",
        "no way of computing the row is right: an operator or a weight is wrong everywhere, not the tree",
    ),
    (True, True, True): ("not_reproduced", "all three are right now: the fault did not come back"),
    (True, False, True): (
        "single_row",
        "only the one-row call is wrong: the kernel depends on the row count",
    ),
    (True, True, False): ("prefill", "only re-prefill is wrong: the fault is in prefill, not in the tree"),
    (True, False, False): (
        "only_packed",
        "only the tree call is right: one-row call and re-prefill are wrong",
    ),
}
"""(packed, alone, re-prefill) right or not, to a short name and a sentence."""


@dataclass(frozen=True, slots=True)
class Triangle:
    """Which of the three agree with the truth, and what that means.

    Attributes:
        packed, alone, reprefill: Within the row's allowance of the truth.
        same_as_each_other: All three within the allowance of one another.
        cause: `tree`, `row_count`, `cache`, `everywhere`, `reference`, ...
        sentence: The same for a person.
    """

    packed: bool
    alone: bool
    reprefill: bool
    same_as_each_other: bool
    cause: str
    sentence: str


def triangle(
    *,
    packed: NDArray[Any],
    alone: NDArray[Any],
    reprefill: NDArray[Any],
    truth: NDArray[Any],
    allowance: float,
) -> Triangle:
    """Tell a tree bug from a kernel's row-count dependence.

    Args:
        packed: The row of the packed tree call, `[W]`.
        alone: The same node fed alone (M = 1) over the same prefix and ancestors.
        reprefill: Prefix and path as an ordinary causal sequence, no cache, no tree.
        truth: The reference one precision above.
        allowance: The row's allowance (`Finding.allowance`).
    """
    right = tuple(agrees(row, truth, allowance) for row in (packed, alone, reprefill))
    together = (
        agrees(packed, alone, allowance)
        and agrees(packed, reprefill, allowance)
        and agrees(alone, reprefill, allowance)
    )
    cause, sentence = MEANINGS[(right[0], right[1], right[2])]
    if together and not any(right):
        cause = "reference"
        sentence = (
            "all three agree with one another and not with the truth: suspect the reference or the weights"
        )
    return Triangle(right[0], right[1], right[2], together, cause, sentence)
