"""The paper's invariants (range, acyclicity and depth, validity closure), and what else makes a tree."""

from __future__ import annotations

from typing import Final

from invariants.ancestry import path_to_root
from invariants.examples import Tree, legal_step
from invariants.mutation import Case, Changes, Pick
from invariants.prefilter import applicability, has_drafts, prefilter
from invariants.rule import BoolArray, IntArray, Violation, Violations, draft_nodes, invariant


@invariant("TREE001", stage="tensorize", requires=("ROW001",))
def parent_out_of_range(parents: IntArray) -> Violations:
    """A parent index is negative or not below the number of nodes.

    ## What it does
    Checks `0 <= parents[node] < N` for every node, root and pads included: the paper's range invariant.

    ## Why it matters
    A gather with such an index reads the last row, a random row, or faults, depending on the operator.
    `-1` for "no parent" is the usual source.

    ## Example
    `parents = [-1, 0, 0]`: the root's sentinel was kept.

    ## Seen in
    FasterDecoding/Medusa (retrieve rows padded with -1 and dereferenced), vllm-project/vllm#43810
    (padding index -1 addresses the last slot); EAGLE-Pangu section 3.2, invariant 1.

    ## Limits
    None; our convention has no sentinel, the root is its own parent.
    """
    for node, parent in enumerate(parents.tolist()):
        if not 0 <= parent < len(parents):
            message = f"node {node} has parent {parent}, which is not a node (there are {len(parents)})"
            yield Violation(message, "parents", node, found=parent)


@invariant("TREE002", stage="tensorize", requires=("TREE001",))
def circle_or_depth_not_rising(parents: IntArray, depths: IntArray, valid: BoolArray) -> Violations:
    """A node is not deeper than its parent, or following parents does not reach the root.

    ## What it does
    For each valid node but the root: the parent's depth is smaller, and the walk over parents arrives
    at node 0 within `depths[node]` hops. The paper's acyclicity and depth invariant.

    ## Why it matters
    A circle hangs or truncates every walk over ancestors; a wrong depth gives a wrong rotary position.

    ## Example
    `parents = [0, 2, 1]`: nodes 1 and 2 are each other's parent.

    ## Seen in
    SafeAILab/EAGLE `topK_genrate` (a parent lookup by sorted search can return the node itself);
    EAGLE-Pangu section 3.2, invariant 2.

    ## Limits
    Guarded by `valid`: pads have parent 0 and depth 0.
    """
    for node in draft_nodes(valid):
        parent = int(parents[node])
        path = path_to_root(node, parents)
        if path is None:
            message = f"node {node} never reaches the root by following parents"
            yield Violation(message, "parents", node, found=parent)
        elif depths[parent] >= depths[node] or len(path) - 1 > depths[node]:
            message = (
                f"node {node} has depth {depths[node]}, its parent {parent} has depth {depths[parent]} "
                f"and the root is {len(path) - 1} hops away"
            )
            yield Violation(message, "depths", node, found=int(depths[node]), expected=len(path) - 1)


@invariant("TREE003", stage="tensorize", requires=("TREE001",))
def valid_child_of_pad(parents: IntArray, valid: BoolArray) -> Violations:
    """A valid node is the child of a padding node.

    ## What it does
    Checks that the parent of each valid node is valid: the paper's validity closure.

    ## Why it matters
    The node's context is a row that holds nothing; its logits are noise that may be accepted.

    ## Example
    `parents = [0, 0, 1]`, `valid = [True, False, True]`.

    ## Seen in
    sgl-project/sglang#7477 (a child survives the selection without its parent); EAGLE-Pangu section 3.2,
    invariant 3.

    ## Limits
    None.
    """
    for node in draft_nodes(valid):
        if not valid[parents[node]]:
            message = f"node {node} is valid, its parent {parents[node]} is padding"
            yield Violation(message, "valid", node, found=int(parents[node]))


@invariant("TREE004", stage="tensorize", requires=("TREE002", "TREE003"))
def depth_skips_a_level(parents: IntArray, depths: IntArray, valid: BoolArray) -> Violations:
    """A node is more than one level below its parent.

    ## What it does
    Checks `depths[node] == depths[parent] + 1` for each valid node but the root. The paper's invariant
    only asks for a greater depth; positions need exactly one more.

    ## Why it matters
    The rotary position of the node is L + depth, so its token is encoded in the wrong place; acceptance
    falls and the text still reads well.

    ## Example
    `parents = [0, 0, 1]`, `depths = [0, 1, 3]`.

    ## Seen in
    sgl-project/sglang#25015 (draft positions advanced twice around the level loop).

    ## Limits
    None.
    """
    for node in draft_nodes(valid):
        expected = int(depths[parents[node]]) + 1
        if depths[node] != expected:
            message = (
                f"node {node} has depth {depths[node]}, one below its parent {parents[node]} is {expected}"
            )
            yield Violation(message, "depths", node, found=int(depths[node]), expected=expected)


@invariant("TREE005", stage="tensorize", requires=("TREE001",))
def root_is_not_a_root(parents: IntArray, depths: IntArray, valid: BoolArray) -> Violations:
    """Node 0 is not its own parent, is not at depth 0, or is marked as padding.

    ## What it does
    Checks `parents[0] == 0`, `depths[0] == 0` and `valid[0]`.

    ## Why it matters
    Node 0 is the last emitted token and the start of every path; children that read their state from
    another row draft and verify under the wrong context.

    ## Example
    `depths[0] == 1`: the whole tree was numbered from one.

    ## Seen in
    EAGLE-Pangu section 3.2 (dummy root row 0); vllm-project/speculators#703 (positions counted from one).

    ## Limits
    None.
    """
    if parents[0] != 0:
        message = f"the root has parent {parents[0]}, should be its own"
        yield Violation(message, "parents", 0, found=int(parents[0]), expected=0)
    if depths[0] != 0:
        message = f"the root has depth {depths[0]}, should be 0"
        yield Violation(message, "depths", 0, found=int(depths[0]), expected=0)
    if not valid[0]:
        yield Violation("the root is marked as padding", "valid", 0, found=0, expected=1)


CLAUSES: Final = (
    prefilter("TREE001")(lambda parents, parents_in_tree: parents != parents_in_tree),
    prefilter("TREE002", "TREE004")(
        lambda above, depths, drafts: drafts & (depths - depths.take(above) != 1)
    ),
    prefilter("TREE005")(lambda parents: parents[:, 0] != 0),
    prefilter("TREE002", "TREE005")(lambda depths: depths[:, 0] != 0),
    prefilter("TREE005")(lambda valid: ~valid[:, 0]),
    applicability("TREE002", "TREE003", "TREE004")(has_drafts),
)


def _own_parent(case: Case, pick: Pick) -> Case:
    node = pick(case.drafts)
    return case.poked("parents", node, node)


def _moved_below_pad(case: Case, pick: Pick) -> Case:
    node = pick([node for node in case.drafts if case.pads and case.row["depths"][node] > 1])
    return case.poked("parents", node, case.pads[-1])


def _root_marked_as_padding(case: Case, _: Pick) -> Case:
    tree = Tree([0], case.row["token_ids"][:1].tolist(), case.row["target_token_ids"][:1].tolist())
    row = legal_step(tree, case.before, case.context)
    return case.edited(**row).edited(valid=~row["valid"], visible=~row["visible"])


MUTATIONS: Final[Changes] = {
    "TREE001 parent-minus-one": lambda case, pick: case.poked("parents", pick(case.others), -1),
    "TREE001 parent-past-the-end": lambda case, pick: case.poked(
        "parents", pick(case.others), len(case.row["parents"])
    ),
    "TREE002 own-parent": _own_parent,
    "TREE002 parent-not-above": lambda case, pick: case.poked("depths", pick(case.drafts), 0),
    "TREE003 child-of-pad": _moved_below_pad,
    "TREE004 depth-one-too-many": lambda case, pick: case.moved("depths", pick(case.leaves), 1),
    "TREE005 root-has-a-parent": lambda case, pick: case.poked("parents", 0, pick(case.drafts)),
    "TREE005 depths-count-from-one": lambda case, _: case.moved("depths", case.nodes, 1),
    "TREE005 root-marked-as-padding": _root_marked_as_padding,
}
