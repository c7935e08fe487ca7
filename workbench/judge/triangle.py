"""One row three ways on the tested path's own backend: packed in the tree, alone, and by re-prefill."""

from __future__ import annotations

from typing import Any, Final

from numpy.typing import NDArray

from workbench.judge.blame import agrees

BEHIND_THE_CACHE: Final = (
    "behind_the_cache",
    "the row's K, V and features are right: not the cache, but what follows (head, logits) is wrong",
)
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


def triangle(
    *,
    packed: NDArray[Any],
    alone: NDArray[Any],
    reprefill: NDArray[Any],
    truth: NDArray[Any],
    allowance: float,
    rows_agree: bool = False,
) -> tuple[str, str]:
    """Tell a tree bug from a kernel's row-count dependence.

    Args:
        packed: The row of the packed tree call, `[W]`.
        alone: The same node fed alone (M = 1) over the same prefix and ancestors.
        reprefill: Prefix and path as an ordinary causal sequence, no cache, no tree.
        truth: The reference one precision above.
        allowance: The row's allowance (`Finding.allowance`).
        rows_agree: The row's K and V in every layer, and its features, were compared and are right.

    Returns:
        A short name of the cause (`reference` where all three agree against the truth), and a sentence.
    """
    packed_right, alone_right, reprefill_right = (
        agrees(row, truth, allowance) for row in (packed, alone, reprefill)
    )
    together = agrees(packed, alone, allowance) and agrees(packed, reprefill, allowance)
    if (
        together
        and agrees(alone, reprefill, allowance)
        and not (packed_right or alone_right or reprefill_right)
    ):
        return (
            "reference",
            "all three agree with one another and not with the truth: suspect the reference or the weights",
        )
    meaning = MEANINGS[packed_right, alone_right, reprefill_right]
    return BEHIND_THE_CACHE if rows_agree and meaning[0] == "cache" else meaning
