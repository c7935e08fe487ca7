"""Who attends to whom inside the tree, cell by cell, and the pads."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from invariants.ancestry import path_to_root
from invariants.mutation import Case, Changes, Pick
from invariants.prefilter import Flags, applicability, has_drafts, has_pads, prefilter
from invariants.rule import (
    BoolArray,
    IntArray,
    NotApplicableError,
    Violation,
    Violations,
    draft_nodes,
    invariant,
    listed,
    pad_nodes,
)
from invariants.spans import lawful_visible
from tracing.run_facts import ModelFacts
from tracing.spans import Reach

CELL_RULES_WAIT_FOR = ("TREE002", "TREE003", "MASK005", "MASK006", "MASK007", "MASK008")
"""The tree must be one, and no pattern may explain the whole mask at once."""


@invariant("MASK001", stage="verify", requires=CELL_RULES_WAIT_FOR)
def non_ancestor_visible(parents: IntArray, valid: BoolArray, visible: BoolArray) -> Violations:
    """A node attends to a node that is not on its own path to the root.

    ## What it does
    Follows parents from each valid node and reports every other valid node that its row of `visible` shows.

    ## Why it matters
    The node's logits are conditioned on another branch, so the engine accepts against the wrong
    distribution. The text still reads well.

    ## Example
    Nodes 1 and 2 are siblings, and `visible[2, 1]` is True.

    ## Seen in
    PaddlePaddle/FastDeploy#3514 (tiles below the diagonal not masked), vllm-project/speculators#691
    (a boolean mask added to the scores as 1 and 0).

    ## Limits
    Judges the mask that the attention call was given, not what the kernel did with it.
    """
    for query in [0, *draft_nodes(valid)]:
        path = path_to_root(query, parents) or []
        leaked = [key for key in visible[query].nonzero()[0].tolist() if valid[key] and key not in path]
        if leaked:
            message = f"node {query} attends to {listed(leaked)}; its path to the root is {listed(path)}"
            yield Violation(message, "visible", query, found=listed(leaked), expected=listed(path))


@invariant("MASK002", stage="verify", requires=CELL_RULES_WAIT_FOR)
def ancestor_hidden(
    parents: IntArray,
    valid: BoolArray,
    visible: BoolArray,
    committed_len: int | None = None,
    model_facts: ModelFacts | None = None,
) -> Violations:
    """A node does not attend to one of its ancestors between the root and itself.

    ## What it does
    Follows parents from each valid node and reports the ancestors, root and node itself excluded, that its
    row of `visible` hides.

    ## Why it matters
    The node is judged as if the hidden token were not in the context; deep acceptance falls first.

    ## Example
    Node 3 is a child of 1, and `visible[3, 1]` is False.

    ## Seen in
    sgl-project/sglang#8409 (keys of beam i instead of beam i's parents), SafeAILab/EAGLE pull request 299
    (blocked along shifted diagonals).

    ## Limits
    The root and the node itself have rules of their own (MASK004, MASK003). An ancestor outside the layer's
    window (`model_facts`) may be hidden.
    """
    paths = {query: path_to_root(query, parents) or [] for query in draft_nodes(valid)}
    if max(len(path) for path in paths.values()) < 3:
        raise NotApplicableError("no node is deeper than one level")
    lawful = lawful_visible(parents, valid, visible, committed_len, model_facts)
    for query, path in paths.items():
        hidden = [key for key in path[1:-1] if lawful[query, key] and not visible[query, key]]
        if hidden:
            message = f"node {query} does not attend to its ancestors {listed(hidden)}"
            yield Violation(message, "visible", query, found=listed(hidden), expected=listed(path))


@invariant("MASK003", stage="verify", requires=CELL_RULES_WAIT_FOR)
def self_hidden(valid: BoolArray, visible: BoolArray) -> Violations:
    """A node does not attend to itself.

    ## What it does
    Checks the diagonal of `visible` at each valid node.

    ## Why it matters
    The node's own token takes no part in its own row, so the row predicts one token too early.

    ## Example
    `visible[2, 2]` is False.

    ## Seen in
    vllm-project/vllm-ascend#11849 (`pos < P` instead of `<=`: the query lost its own key; fine for a
    hundred tokens, then loops).

    ## Limits
    None.
    """
    for node in range(len(valid)):
        if valid[node] and not visible[node, node]:
            yield Violation(f"node {node} does not attend to itself", "visible", node, found=0, expected=1)


@invariant("MASK004", stage="verify", requires=CELL_RULES_WAIT_FOR)
def root_hidden(
    parents: IntArray,
    valid: BoolArray,
    visible: BoolArray,
    committed_len: int | None = None,
    model_facts: ModelFacts | None = None,
) -> Violations:
    """A draft node does not attend to the root.

    ## What it does
    Checks column 0 of `visible` at each valid node but the root.

    ## Why it matters
    The root is the last emitted token. Ancestor tables that saturate at 0, and masks over draft nodes only,
    drop its column, and every node is judged without the token before it.

    ## Example
    `visible[4, 0]` is False.

    ## Seen in
    EAGLE-Pangu section 3.3 (the mask is written over draft nodes, the root column is the caller's);
    vllm-project/vllm-ascend#11849 for the same off-by-one between prefix and own keys.

    ## Limits
    The root is never implied by the prefix, because its KV is written in this very step. Outside the layer's
    window (`model_facts`) it may be hidden.
    """
    nodes = draft_nodes(valid)
    lawful = lawful_visible(parents, valid, visible, committed_len, model_facts)
    for node in nodes:
        if lawful[node, 0] and not visible[node, 0]:
            yield Violation(f"node {node} does not attend to the root", "visible", node, found=0, expected=1)


@invariant("MASK012", stage="verify", requires=CELL_RULES_WAIT_FOR)
def beyond_window_visible(
    parents: IntArray,
    valid: BoolArray,
    visible: BoolArray,
    *,
    prefix_visible: IntArray,  # noqa: ARG001  without it, visible is what was built, and no layer's yet
    committed_len: int,
    model_facts: ModelFacts,
) -> Violations:
    """A node attends to an ancestor in the tree that its layer's window hides.

    ## What it does
    Follows parents from each valid node and reports ancestors that its row of `visible` shows although they
    lie outside the window, or in another chunk, of the layer that is shown (`model_facts`).

    ## Why it matters
    The window is applied to the cache and not to the tree: the node sees further than in ordinary decoding,
    and its logits are not the teacher's.

    ## Example
    The window is 3 and node 4, at depth 3, attends to the root.

    ## Seen in
    huggingface/transformers#48280 (a window mask off by one during drafts), sgl-project/sglang#39287.

    ## Limits
    Needs the facts of the model, and `prefix_visible`: without it, `visible` may be the tree as it was built,
    before any layer's window. Where layers differ and the facts do not name the one that is shown, any
    layer's window passes.
    """
    if not any(span.window for span in model_facts.shown_spans):
        raise NotApplicableError("the layer that is shown has no window")
    lawful = lawful_visible(parents, valid, visible, committed_len, model_facts)
    for query in [0, *draft_nodes(valid)]:
        path = path_to_root(query, parents) or []
        beyond = [key for key in path if visible[query, key] and not lawful[query, key]]
        if beyond:
            message = f"node {query} attends to its ancestors {listed(beyond)}, which the window hides"
            yield Violation(message, "visible", query, found=listed(beyond), expected="none")


@invariant("MASK011", stage="verify", requires=("ROW001", "MASK005"))
def pad_visible(valid: BoolArray, visible: BoolArray) -> Violations:
    """A padding node attends to a node of the tree, or a node attends to a padding node.

    ## What it does
    Checks that rows and columns of `visible` are False where `valid` is False.

    ## Why it matters
    A padding row holds leftovers of an earlier step; whoever attends to it is conditioned on them.

    ## Example
    Node 59 is padding and `visible[3, 59]` is True.

    ## Seen in
    vllm-project/vllm-ascend#11408 (padded requests were not inert, output garbled), vllm-project/vllm#43682.

    ## Limits
    Whether a padding row may see the prefix is left open: some kernels need one visible key per row.
    """
    pad_nodes(valid)
    for node in range(len(valid)):
        shown = visible[node].nonzero()[0].tolist()
        if valid[node]:
            shown = [key for key in shown if not valid[key]]
        if shown:
            message = f"{'node' if valid[node] else 'padding node'} {node} attends to {listed(shown)}, "
            message += "which is padding" if valid[node] else "should attend to nothing in the tree"
            yield Violation(message, "visible", node, found=listed(shown), expected="none")


TOGETHER: Final = 64
"""Steps whose masks are compared at a time: what is made of them stays in the processor's cache."""
CLAUSES: Final = (
    applicability("MASK002")(lambda drafts, depths: (drafts & (depths > 1)).any(axis=1)),
    applicability("MASK001", "MASK002", "MASK004", "MASK012")(has_drafts),
    applicability("MASK011")(has_pads),
)


@prefilter("MASK001", "MASK002", "MASK003", "MASK004", "MASK005", "MASK006", "MASK007", "MASK008", "MASK011")
def _not_the_closure(visible: BoolArray, above: IntArray, valid: BoolArray) -> Flags:
    """Compare each row with its parent's row and the node itself; pads see nothing, the root itself alone.

    Parents come before their children, or TREE006 flags the step, so where every row is right by its
    parent's, all are the path to the root.
    """
    num_nodes, parents, pads = valid.shape[1], above.reshape(-1), ~valid.reshape(-1)
    rows, found = visible.reshape(len(parents), num_nodes), np.zeros(len(valid), dtype=np.bool_)
    for start in range(0, len(rows), TOGETHER * num_nodes):
        some = slice(start, start + TOGETHER * num_nodes)
        expected: BoolArray = rows.take(parents[some], axis=0)
        expected[::num_nodes] = False
        expected.reshape(-1, num_nodes**2)[:, :: num_nodes + 1] = True
        expected[np.flatnonzero(pads[some])] = False
        unlike: Any = rows[some] != expected
        if unlike.any():
            found[(start + np.flatnonzero(unlike.any(axis=1))) // num_nodes] = True
    return found


@prefilter("MASK012")
def _window_in_tree(depths: IntArray, valid: BoolArray, model_facts: ModelFacts) -> Flags:
    """Flag steps whose tree may reach over a window's edge; a chunk may end anywhere."""
    reach = [1 if span.is_chunk else span.window for span in model_facts.shown_spans if span.window]
    return (valid & (depths >= min(reach))).any(axis=1) if reach else np.zeros(len(valid), dtype=np.bool_)


def _self_hidden(case: Case, pick: Pick) -> Case:
    node = pick([each for each in case.nodes if case.drafts])
    return case.poked("visible", (node, node), False)


def _window_ignored(case: Case, _: Pick) -> Case:
    """The model has a window of two tokens, which the prefix shows and the tree does not."""
    length, depths = case.row["committed_len"], case.row["depths"].astype(np.int64)
    seen = np.where(case.row["valid"], Reach(2).num_prefix(length + depths, length), 0)
    deep = case.where(depths.max() > 1, "too flat a tree").in_run(model_facts=ModelFacts(windows=(2,)))
    return deep.edited(prefix_visible=seen.astype(np.int32))


MUTATIONS: Final[Changes] = {
    "MASK001 non-ancestor-shown": lambda case, pick: case.poked(
        "visible", pick([(q, k) for q in case.nodes for k in case.nodes if k not in case.path(q)]), True
    ),
    "MASK002 ancestor-hidden": lambda case, pick: case.poked(
        "visible", pick([(q, k) for q in case.drafts for k in case.path(q)[1:-1]]), False
    ),
    "MASK003 self-hidden": _self_hidden,
    "MASK004 root-hidden": lambda case, pick: case.poked("visible", (pick(case.drafts), 0), False),
    "MASK012 window-ignored-in-tree": _window_ignored,
    "MASK011 pad-shown": lambda case, pick: case.poked(
        "visible", (pick(case.nodes if case.pads else []), case.pads[-1]), True
    ),
    "MASK011 pad-looks": lambda case, pick: case.poked("visible", (pick(case.pads), 0), True),
}
