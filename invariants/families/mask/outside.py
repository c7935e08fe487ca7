"""Who attends to what outside the tree: the committed prefix, and nothing else."""

from __future__ import annotations

from typing import Final

from invariants.mutation import Changes
from invariants.prefilter import prefilter
from invariants.rule import BoolArray, IntArray, Violation, Violations, invariant


@invariant("MASK009", stage="verify", requires=("ROW001",))
def prefix_hidden(prefix_visible: IntArray, valid: BoolArray, committed_len: int) -> Violations:
    """A node does not attend to the whole committed prefix.

    ## What it does
    Checks `prefix_visible[node] == committed_len` for each valid node.

    ## Why it matters
    Part of the conversation is not there for this node. Nothing crashes, and short prompts stay right.

    ## Example
    L is 600 and a node sees 512 committed rows.

    ## Seen in
    vllm-project/vllm-ascend#15503 (an under-ranked mask is right up to 512 keys, wrong from 513),
    huggingface/transformers#48280 (mask one window short during drafts).

    ## Limits
    A teacher with a sliding window shows fewer rows by design; ignore the rule for such a model.
    """
    for node in range(len(valid)):
        if valid[node] and prefix_visible[node] != committed_len:
            message = f"node {node} attends to {prefix_visible[node]} committed rows of {committed_len}"
            found = int(prefix_visible[node])
            yield Violation(message, "prefix_visible", node, found=found, expected=committed_len)


@invariant("MASK010", stage="verify", requires=("ROW001",))
def stale_row_visible(other_visible: IntArray, valid: BoolArray) -> Violations:
    """A node attends to cache rows that are neither committed nor in its tree.

    ## What it does
    Checks `other_visible[node] == 0` for each valid node: rows left by rejected nodes, rows never written,
    rows of padding columns.

    ## Why it matters
    The node attends to tokens that were rejected, or to uninitialised memory: words repeat or appear that
    the model never produced, and the same run differs from itself.

    ## Example
    After a rejection the mask is still 60 columns longer than prefix and tree.

    ## Seen in
    sgl-project/sglang#37553 (stale mask content), vllm-project/vllm-ascend#3482 (tail of old slots kept).

    ## Limits
    None.
    """
    for node in range(len(valid)):
        if valid[node] and other_visible[node] != 0:
            message = f"node {node} attends to {other_visible[node]} rows outside prefix and tree"
            yield Violation(message, "other_visible", node, found=int(other_visible[node]), expected=0)


CLAUSES: Final = (
    prefilter("MASK009")(
        lambda prefix_visible, valid, committed_len: valid & (prefix_visible != committed_len[:, None])
    ),
    prefilter("MASK010")(lambda other_visible, valid: valid & (other_visible != 0)),
)


MUTATIONS: Final[Changes] = {
    "MASK009 prefix-cut-short": lambda case, pick: case.poked(
        "prefix_visible", pick(case.nodes), case.row["committed_len"] - 1
    ),
    "MASK010 stale-row-shown": lambda case, pick: case.poked("other_visible", pick(case.nodes), 1),
}
