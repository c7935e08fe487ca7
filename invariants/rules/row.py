"""The record itself: arrays of one step that should have the same length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from invariants.rule import BoolArray, FloatArray, IntArray, Violation, Violations, invariant


@invariant("ROW001", name="lengths-disagree", stage="tensorize")
def lengths_disagree(
    *,
    parents: IntArray,
    token_ids: IntArray | None = None,
    depths: IntArray | None = None,
    valid: BoolArray | None = None,
    draft_logprobs: FloatArray | None = None,
    position_ids: IntArray | None = None,
    cache_positions: IntArray | None = None,
    slots: IntArray | None = None,
    visible: BoolArray | None = None,
    prefix_visible: IntArray | None = None,
    other_visible: IntArray | None = None,
    target_token_ids: IntArray | None = None,
    target_top_ids: IntArray | None = None,
    target_top_logits: FloatArray | None = None,
    feature_row_digests: IntArray | None = None,
    kv_row_digests: IntArray | None = None,
    draft_top1_offsets: IntArray | None = None,
) -> Violations:
    """A column that should have one entry per node has another number of entries than `parents`.

    ## What it does
    Compares the number of rows of every per-node column with N, the length of `parents`, and asks for
    `visible` to be square and for `target_top_ids` and `target_top_logits` to have the same shape. A tree
    always has a root, so N is at least 1. Most other rules wait for this one.

    ## Why it matters
    A buffer that kept its length from an earlier, larger batch, or a mask sized for another number of
    columns, is read past its meaning: the kernel takes stale rows for live ones.

    ## Example
    `parents` has 60 entries and `position_ids` has 64.

    ## Seen in
    sgl-project/sglang#37553 (verify mask never cut when the batch shrinks), vllm-project/vllm-ascend#14024
    (slot buffers of 8208 and 8200 entries for the same tokens).

    ## Limits
    None; lengths are exact.
    """
    num_nodes = len(parents)
    if num_nodes == 0:
        yield Violation("the step has no nodes; a tree has at least its root", "parents", found=0, expected=1)
    columns: dict[str, Any] = {
        "token_ids": token_ids,
        "depths": depths,
        "valid": valid,
        "draft_logprobs": draft_logprobs,
        "position_ids": position_ids,
        "cache_positions": cache_positions,
        "slots": slots,
        "visible": visible,
        "prefix_visible": prefix_visible,
        "other_visible": other_visible,
        "target_token_ids": target_token_ids,
        "target_top_ids": target_top_ids,
        "target_top_logits": target_top_logits,
        "feature_row_digests": feature_row_digests,
        "kv_row_digests": kv_row_digests,
        "draft_top1_offsets": draft_top1_offsets,
    }
    for name, column in columns.items():
        if column is not None and len(column) != num_nodes:
            message = f"{name} has {len(column)} rows, parents has {num_nodes}"
            yield Violation(message, name, found=len(column), expected=num_nodes)
    yield from _wrong_widths(num_nodes, visible, target_top_ids, target_top_logits)


def _wrong_widths(
    num_nodes: int, visible: BoolArray | None, top_ids: IntArray | None, top_logits: FloatArray | None
) -> Iterator[Violation]:
    """Yield what is wrong with the second axis of the columns that have one."""
    if visible is not None and len(visible) == num_nodes and visible.shape != (num_nodes, num_nodes):
        found = " x ".join(str(size) for size in visible.shape)
        message = f"visible is {found}, should be {num_nodes} x {num_nodes}"
        yield Violation(message, "visible", found=found, expected=f"{num_nodes} x {num_nodes}")
    if top_ids is not None and top_logits is not None and top_ids.shape != top_logits.shape:
        message = f"target_top_logits is {top_logits.shape}, target_top_ids is {top_ids.shape}"
        yield Violation(
            message, "target_top_logits", found=str(top_logits.shape), expected=str(top_ids.shape)
        )


@invariant("ROW002", name="row-incomplete", stage="commit", severity="warning")
def row_incomplete(incomplete: str | None = None) -> Violations:
    """The recorder says that this row lacks something that happened.

    ## What it does
    Passes on what the recorder wrote in `incomplete`.

    ## Why it matters
    A value that no column can hold, or a stage that never ended, is itself a sign of trouble; the rules that
    need it are not checked at this step, and this rule says why.

    ## Example
    `incomplete` is `parents: 3 values do not fit int32`.

    ## Seen in
    sgl-project/sglang#27338 (indices far out of range), and any step in which a process was killed.

    ## Limits
    A warning: a recording that was stopped in mid-step has one such row by right.
    """
    if incomplete is not None:
        yield Violation(f"the row is incomplete: {incomplete}", "incomplete", found=incomplete)
