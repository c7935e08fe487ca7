"""Who attends to what outside the tree: the committed prefix, and nothing else."""

from __future__ import annotations

from typing import Final

import numpy as np

from invariants.mutation import Case, Changes, Pick
from invariants.prefilter import Flags, prefilter
from invariants.rule import BoolArray, IntArray, Violation, Violations, invariant
from invariants.spans import shown_span
from tracing.run_facts import ModelFacts
from tracing.spans import Reach


@invariant("MASK009", stage="verify", requires=("ROW001",))
def prefix_hidden(
    prefix_visible: IntArray,
    valid: BoolArray,
    committed_len: int,
    depths: IntArray | None = None,
    model_facts: ModelFacts | None = None,
) -> Violations:
    """A node does not attend to the committed rows that its layer should show it, all or its window's.

    ## What it does
    Checks `prefix_visible[node]` of each valid node against `committed_len`; where the manifest says that
    the layer has a window, chunks or sinks (`model_facts`), against the rows that they leave.

    ## Why it matters
    Part of the conversation is not there for this node. Nothing crashes, and short prompts stay right. Or a
    window is ignored, and the node sees what the model was trained not to see.

    ## Example
    L is 600 and a node sees 512 committed rows. Or the window is 20, a node at depth 2 sees 18 rows: its
    window holds itself, its two ancestors and 17 rows.

    ## Seen in
    vllm-project/vllm-ascend#15503 (an under-ranked mask is right up to 512 keys, wrong from 513),
    huggingface/transformers#48280 (mask one window short during drafts).

    ## Limits
    Where the manifest has no facts of the model and the rows are those of some window, it is not checked.
    Where layers differ and the facts do not name the layer that is shown, any layer's window passes.
    """
    span = shown_span(prefix_visible, depths, valid, committed_len, model_facts)
    at = np.zeros(len(valid), np.int64) if depths is None else depths.astype(np.int64)
    lawful = span.num_prefix(committed_len + at, committed_len)
    under = f" under {span.text}" if span.window else ""
    for node in range(len(valid)):
        found, expected = int(prefix_visible[node]), int(lawful[node])
        if valid[node] and found != expected:
            should = f", should be {expected}{under}" if under else ""
            message = f"node {node} attends to {found} committed rows of {committed_len}{should}"
            yield Violation(message, "prefix_visible", node, found=found, expected=expected)


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


CLAUSES: Final = (prefilter("MASK010")(lambda other_visible, valid: valid & (other_visible != 0)),)


@prefilter("MASK009")
def _not_the_lawful_rows(
    prefix_visible: IntArray,
    valid: BoolArray,
    committed_len: IntArray,
    depths: IntArray | None = None,
    model_facts: ModelFacts | None = None,
) -> Flags:
    """Flag steps that no span explains; without facts of the model, all that do not see the whole prefix."""
    length = committed_len[:, None]
    if model_facts is None or depths is None:
        return valid & (prefix_visible != length)
    wrong = [
        (valid & (prefix_visible != span.num_prefix(length + depths.astype(np.int64), length))).any(axis=1)
        for span in model_facts.shown_spans
    ]
    return np.logical_and.reduce(wrong)


def _cut_short(case: Case, pick: Pick) -> Case:
    return case.poked("prefix_visible", pick(case.nodes), case.row["committed_len"] - 1)


def _another_window(case: Case, _: Pick) -> Case:
    """All nodes see the rows of a window one token wider than the model's; the tree is within both."""
    length, depths = case.row["committed_len"], case.row["depths"].astype(np.int64)
    window = int(depths.max()) + 2
    seen = np.where(case.row["valid"], Reach(window + 1).num_prefix(length + depths, length), 0)
    facts = ModelFacts(windows=(window, window))
    moved = case.where(length > window, "too short a prefix").in_run(model_facts=facts)
    return moved.edited(prefix_visible=seen.astype(np.int32))


MUTATIONS: Final[Changes] = {
    "MASK009 prefix-cut-short": _cut_short,
    "MASK009 window-one-wider": _another_window,
    "MASK010 stale-row-shown": lambda case, pick: case.poked("other_visible", pick(case.nodes), 1),
}
