"""Commit: how long the cache gets, which rows it keeps, and by which way."""

from __future__ import annotations

from typing import Final

from invariants.rule import IntArray, Violation, Violations, invariant, listed

COMMIT_MODES: Final = ("length", "full_reorder", "fast_reorder")


@invariant("KV001", name="length-law-broken", stage="commit", requires=("ACC001",))
def length_law_broken(committed_len: int, committed_len_after: int, accepted_nodes: IntArray) -> Violations:
    """The committed length did not grow by the accepted nodes plus the root.

    ## What it does
    Checks `committed_len_after == committed_len + A + 1`.

    ## Why it matters
    One row too few forgets a token, one too many keeps a rejected one; all later positions are shifted.

    ## Example
    L is 10, two nodes are accepted, and the length after is 12 instead of 13.

    ## Seen in
    kekzl/imp#667 (rollback off by one), vllm-project/vllm-ascend#8033 (rejected count ignored),
    sgl-project/sglang#13826 (allocated length not updated).

    ## Limits
    One length per step; layers that disagree among themselves show in the digests (KV004, KV005).
    """
    expected = committed_len + len(accepted_nodes) + 1
    if committed_len_after != expected:
        message = (
            f"the cache is {committed_len_after} long after the step, should be {expected} "
            f"({committed_len} + {len(accepted_nodes)} accepted + root)"
        )
        found = int(committed_len_after)
        yield Violation(message, "committed_len_after", found=found, expected=expected)


@invariant("KV002", name="path-indices-are-not-the-path", stage="accept", requires=("ACC001",))
def path_indices_are_not_the_path(
    path_indices: IntArray, committed_len: int, accepted_nodes: IntArray
) -> Violations:
    """The cache positions to keep are not those of the root and the accepted nodes.

    ## What it does
    Compares `path_indices` with `committed_len + [0, accepted nodes...]`.

    ## Why it matters
    Rows of rejected nodes are committed in place of accepted ones; the next step attends to words that
    were never said.

    ## Example
    L is 10, node 4 is accepted, and `path_indices` is `[10, 11]` instead of `[10, 14]`.

    ## Seen in
    NVIDIA/TensorRT-LLM#10343 (rewind kept as one number cannot express a path), alibaba/MNN#4591 (base
    changed inside the loop), sgl-project/sglang#26866 (accept index read past its end).

    ## Limits
    None; the rows that were really moved are judged by KV005.
    """
    expected = [committed_len, *(committed_len + node for node in accepted_nodes.tolist())]
    found = path_indices.tolist()
    if found != expected:
        message = f"path_indices is {listed(found)}, root and accepted nodes lie at {listed(expected)}"
        yield Violation(message, "path_indices", found=listed(found), expected=listed(expected))
