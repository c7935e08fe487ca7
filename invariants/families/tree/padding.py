"""Padding and size: pads come last and hold nothing, and the tree is no larger than asked for."""

from __future__ import annotations

from typing import Any, Final

from invariants.mutation import Case, Changes, Pick, permuted
from invariants.prefilter import applicability, has_pads, prefilter
from invariants.rule import (
    BoolArray,
    FloatArray,
    IntArray,
    Violation,
    Violations,
    invariant,
    pad_nodes,
)


@invariant("TREE008", stage="tensorize", requires=("ROW001",))
def pad_before_node(valid: BoolArray) -> Violations:
    """A padding node comes before a valid one.

    ## What it does
    Checks that valid nodes come first and pads after them.

    ## Why it matters
    A kernel that is given the number of live rows takes the first ones; a hole makes it drop the last live
    node and keep a pad.

    ## Example
    `valid = [True, False, True]`.

    ## Seen in
    vllm-project/vllm-ascend#3482 (live entries mixed with an old tail), vllm-project/vllm-ascend#7290
    (length lists that disagree with the padded rows).

    ## Limits
    None.
    """
    pads = pad_nodes(valid)
    for node in range(pads[0] + 1, len(valid)):
        if valid[node]:
            yield Violation(
                f"node {node} comes after padding node {pads[0]}", "valid", node, found=1, expected=0
            )


@invariant("TREE009", stage="tensorize", requires=("TREE001",))
def pad_not_inert(
    *,
    valid: BoolArray,
    parents: IntArray,
    depths: IntArray,
    position_ids: IntArray | None = None,
    committed_len: int | None = None,
    draft_logprobs: FloatArray | None = None,
) -> Violations:
    """A padding node carries leftovers: a parent, a depth, a position or a score.

    ## What it does
    Checks parent 0, depth 0, the root's position and log-probability 0 for each pad.

    ## Why it matters
    A pad that still looks like a node of an earlier step is taken for one as soon as one stage forgets to
    ask `valid`; a position from a longer context reads past the rotary table.

    ## Example
    Node 59 is padding and has depth 3.

    ## Seen in
    sgl-project/sglang#10892 (stale positions of a padded batch), vllm-project/vllm#43682 (padded rows counted
    on), vllm-project/vllm-ascend#11408.

    ## Limits
    The token of a pad may be any legal id (IDX003).
    """
    pads = pad_nodes(valid)
    laws: list[tuple[str, Any, int | None]] = [
        ("parents", parents, 0),
        ("depths", depths, 0),
        ("draft_logprobs", draft_logprobs, 0),
        ("position_ids", position_ids, committed_len),
    ]
    for name, column, expected in laws:
        for node in pads if column is not None and expected is not None else ():
            found = column[node].item()
            if found != expected and not (name == "position_ids" and found == column[0]):
                message = f"padding node {node} has {found} in {name}, should be {expected}"
                yield Violation(message, name, node, found=found, expected=expected)


@invariant("TREE010", stage="tensorize", requires=("TREE002",))
def tree_beyond_budget(
    valid: BoolArray, depths: IntArray, max_tree_nodes: int, max_tree_depth: int
) -> Violations:
    """The tree has more nodes, or is deeper, than the settings allow.

    ## What it does
    Checks `N <= max_tree_nodes` and the greatest depth of a valid node against `max_tree_depth`.

    ## Why it matters
    Buffers are sized for the budget: slots, masks and tables of candidates are read or written past their
    end, and a drafter with three heads cannot have filled a fourth level.

    ## Example
    `tree_nodes` is 60 and the step has 64 nodes.

    ## Seen in
    FasterDecoding/Medusa#63 (choices deeper than the number of heads), vllm-project/vllm-ascend#14024.

    ## Limits
    Static shapes that are rounded up by an engine should be given as `max_tree_nodes`.
    """
    if len(valid) > max_tree_nodes:
        message = f"the step has {len(valid)} nodes, the settings allow {max_tree_nodes}"
        yield Violation(message, "parents", found=len(valid), expected=max_tree_nodes)
    for node in range(len(valid)):
        if valid[node] and depths[node] > max_tree_depth:
            message = f"node {node} has depth {depths[node]}, the settings allow {max_tree_depth}"
            yield Violation(message, "depths", node, found=int(depths[node]), expected=max_tree_depth)


CLAUSES: Final = (
    # A child of padding comes after it, or before its parent.
    prefilter("TREE003", "TREE008")(lambda valid: valid[:, 1:] & ~valid[:, :-1]),
    prefilter("TREE009")(lambda parents, valid: ~valid & (parents != 0)),
    prefilter("TREE009")(lambda depths, valid: ~valid & (depths != 0)),
    prefilter("TREE009")(lambda draft_logprobs, valid: ~valid & (draft_logprobs != 0)),
    prefilter("TREE009")(
        lambda position_ids, valid, committed_len: ~valid & (position_ids != committed_len[:, None])
    ),
    prefilter("TREE010")(lambda valid, max_tree_nodes: valid.shape[1] > max_tree_nodes),
    prefilter("TREE010")(lambda depths, valid, max_tree_depth: valid & (depths > max_tree_depth)),
    applicability("TREE008", "TREE009")(has_pads),
)


def _pad_moved_forward(case: Case, pick: Pick) -> Case:
    order = list(range(len(case.row["parents"])))
    order.insert(pick([node for node in case.drafts if case.pads]), order.pop())
    return permuted(case, order)


MUTATIONS: Final[Changes] = {
    "TREE008 pad-moved-forward": _pad_moved_forward,
    "TREE009 pad-keeps-depth": lambda case, pick: case.poked("depths", pick(case.pads), 3),
    "TREE009 pad-keeps-parent": lambda case, pick: case.poked(
        "parents", pick([pad for pad in case.pads if case.drafts]), case.drafts[-1]
    ),
    "TREE009 pad-keeps-position": lambda case, pick: case.poked(
        "position_ids", pick(case.pads), case.row["committed_len"] + 4
    ),
    "TREE010 tree-larger-than-asked": lambda case, _: case.in_run(
        max_tree_nodes=len(case.row["parents"]) - 1
    ),
    "TREE010 tree-deeper-than-asked": lambda case, _: case.where(case.drafts, "only a root").in_run(
        max_tree_depth=int(case.row["depths"].max()) - 1
    ),
    "TREE009 pad-keeps-score": lambda case, pick: case.poked("draft_logprobs", pick(case.pads), -1.0),
}
