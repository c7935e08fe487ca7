"""Padding and size: pads come last and hold nothing, and the tree is no larger than asked for."""

from __future__ import annotations

from typing import Any

from invariants.mutation import Case, NoPlaceError, Pick, mutation, permuted
from invariants.prefilter import Flags, applicability, has_pads, prefilter
from invariants.rule import (
    BoolArray,
    FloatArray,
    IntArray,
    NotApplicableError,
    Violation,
    Violations,
    invariant,
)


@invariant("TREE008", name="pad-before-node", stage="tensorize", requires=("ROW001",))
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
    pads = (~valid).nonzero()[0].tolist()
    if not pads:
        raise NotApplicableError("the step has no padding")
    for node in range(pads[0] + 1, len(valid)):
        if valid[node]:
            yield Violation(
                f"node {node} comes after padding node {pads[0]}", "valid", node, found=1, expected=0
            )


@invariant("TREE009", name="pad-not-inert", stage="tensorize", requires=("TREE001",))
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
    Checks parent 0, depth 0, position L and log-probability 0 for each pad.

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
    pads = (~valid).nonzero()[0].tolist()
    if not pads:
        raise NotApplicableError("the step has no padding")
    laws: list[tuple[str, Any, int | None]] = [
        ("parents", parents, 0),
        ("depths", depths, 0),
        ("draft_logprobs", draft_logprobs, 0),
        ("position_ids", position_ids, committed_len),
    ]
    for name, column, expected in laws:
        for node in pads if column is not None and expected is not None else ():
            found = column[node].item()
            if found != expected:
                message = f"padding node {node} has {found} in {name}, should be {expected}"
                yield Violation(message, name, node, found=found, expected=expected)


@invariant("TREE010", name="tree-beyond-budget", stage="tensorize", requires=("TREE002",))
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


@prefilter("TREE003", "TREE008")
def _node_after_pad(valid: BoolArray) -> Flags:
    """A child of padding comes after it, or before its parent."""
    return (valid[:, 1:] & ~valid[:, :-1]).any(axis=1)


@prefilter("TREE009")
def _pad_with_parent(parents: IntArray, valid: BoolArray) -> Flags:
    return (~valid & (parents != 0)).any(axis=1)


@prefilter("TREE009")
def _pad_with_depth(depths: IntArray, valid: BoolArray) -> Flags:
    return (~valid & (depths != 0)).any(axis=1)


@prefilter("TREE009")
def _pad_with_score(draft_logprobs: FloatArray, valid: BoolArray) -> Flags:
    return (~valid & (draft_logprobs != 0)).any(axis=1)


@prefilter("TREE009")
def _pad_off_position(position_ids: IntArray, valid: BoolArray, committed_len: IntArray) -> Flags:
    return (~valid & (position_ids != committed_len[:, None])).any(axis=1)


@prefilter("TREE010")
def _too_many(valid: BoolArray, max_tree_nodes: int) -> Flags:
    return valid.shape[1] > max_tree_nodes


@prefilter("TREE010")
def _too_deep(depths: IntArray, valid: BoolArray, max_tree_depth: int) -> Flags:
    return (valid & (depths > max_tree_depth)).any(axis=1)


WITH_PADS = applicability("TREE008", "TREE009")(has_pads)


@mutation("TREE008", "pad-moved-forward")
def _pad_moved_forward(case: Case, pick: Pick) -> Case:
    order = list(range(len(case.row["parents"])))
    order.insert(pick([node for node in case.drafts if case.pads]), order.pop())
    return permuted(case, order)


@mutation("TREE009", "pad-keeps-depth")
def _pad_keeps_depth(case: Case, pick: Pick) -> Case:
    return case.poked("depths", pick(case.pads), 3)


@mutation("TREE009", "pad-keeps-parent")
def _pad_keeps_parent(case: Case, pick: Pick) -> Case:
    return case.poked("parents", pick([pad for pad in case.pads if case.drafts]), case.drafts[-1])


@mutation("TREE009", "pad-keeps-position")
def _pad_keeps_position(case: Case, pick: Pick) -> Case:
    return case.poked("position_ids", pick(case.pads), case.row["committed_len"] + 4)


@mutation("TREE010", "tree-larger-than-asked")
def _tree_larger_than_asked(case: Case, _: Pick) -> Case:
    return case.in_run(max_tree_nodes=len(case.row["parents"]) - 1)


@mutation("TREE010", "tree-deeper-than-asked")
def _tree_deeper_than_asked(case: Case, _: Pick) -> Case:
    if not case.drafts:
        raise NoPlaceError("only a root")
    return case.in_run(max_tree_depth=int(case.row["depths"].max()) - 1)


@mutation("TREE009", "pad-keeps-score")
def _pad_keeps_score(case: Case, pick: Pick) -> Case:
    return case.poked("draft_logprobs", pick(case.pads), -1.0)
