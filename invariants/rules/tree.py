"""Tree topology: the three invariants of the paper first, then what else makes parents and depths a tree."""

from __future__ import annotations

from invariants.ancestry import path_to_root
from invariants.rule import BoolArray, IntArray, Violation, Violations, draft_nodes, invariant


@invariant("TREE001", name="parent-out-of-range", stage="tensorize", requires=("ROW001",))
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


@invariant("TREE002", name="circle-or-depth-not-rising", stage="tensorize", requires=("TREE001",))
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


@invariant("TREE003", name="valid-child-of-pad", stage="tensorize", requires=("TREE001",))
def valid_child_of_pad(parents: IntArray, valid: BoolArray) -> Violations:
    """A valid node hangs on a padding node.

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


@invariant("TREE004", name="depth-skips-a-level", stage="tensorize", requires=("TREE002", "TREE003"))
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


@invariant("TREE005", name="root-is-not-a-root", stage="tensorize", requires=("TREE001",))
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


@invariant(
    "TREE006",
    name="parent-after-child",
    stage="tensorize",
    severity="warning",
    requires=("TREE002", "TREE003"),
)
def parent_after_child(parents: IntArray, valid: BoolArray) -> Violations:
    """A node comes before its parent in the packed order.

    ## What it does
    Checks `parents[node] < node` for each valid node but the root.

    ## Why it matters
    Nodes are packed level by level, parents first. A kernel that skips tiles above the diagonal, or a
    one-pass ancestor table, hides an ancestor that comes later.

    ## Example
    `parents = [0, 2, 0]`: node 1 hangs on node 2.

    ## Seen in
    PaddlePaddle/FastDeploy#3514 (mask checks skipped by tile order), SafeAILab/EAGLE b09a256 (rows unsorted).

    ## Limits
    A warning: the paper's invariants allow any order, an engine whose kernels do too may ignore this rule.
    """
    for node in draft_nodes(valid):
        if parents[node] >= node:
            message = f"node {node} comes before its parent {parents[node]}"
            yield Violation(message, "parents", node, found=int(parents[node]))


@invariant("TREE007", name="duplicate-sibling", stage="tensorize", requires=("TREE002", "TREE003"))
def duplicate_sibling(parents: IntArray, token_ids: IntArray, valid: BoolArray) -> Violations:
    """Two children of one node carry the same token.

    ## What it does
    Looks for an earlier valid child of the same parent with the same token id.

    ## Why it matters
    The second copy can never be accepted, so budget is lost; under sampling the token is tried twice,
    which changes the distribution of the output.

    ## Example
    `parents = [0, 0, 0]`, `token_ids = [7, 5, 5]`.

    ## Seen in
    SafeAILab/EAGLE b09a256 and 80cd31e (siblings tried repeatedly); a reduced draft vocabulary that maps
    two draft ids to one target id does the same (verl-SpeCo#67 is such a map).

    ## Limits
    Tokens are compared as recorded, after the map to the teacher's vocabulary.
    """
    first_child: dict[tuple[int, int], int] = {}
    for node in draft_nodes(valid):
        key = (int(parents[node]), int(token_ids[node]))
        other = first_child.setdefault(key, node)
        if other != node:
            message = f"nodes {other} and {node} are children of {key[0]} with the same token {key[1]}"
            yield Violation(message, "token_ids", node, found=key[1])


@invariant("TREE011", name="parents-changed", stage="tensorize", requires=("ROW001",))
def parents_changed(draft_parents: IntArray, parents: IntArray, valid: BoolArray) -> Violations:
    """The tree that is verified hangs together otherwise than the tree that was drafted.

    ## What it does
    Where the draft's own parents are recorded, compares them with `parents`, node by node; there must be as
    many as there are valid nodes.

    ## Why it matters
    Positions, visibility and acceptance all follow from the parents: a consistent tree of other parents is
    verified faithfully, and none of its tokens was drafted for the place where it stands.

    ## Example
    Node 4 was drafted below node 1 and is verified below node 2.

    ## Seen in
    sgl-project/sglang#8409 (beam position taken for the beam's parent), SafeAILab/EAGLE `topK_genrate`.

    ## Limits
    The column is recorded only where the two differ, or by engines that always record it; without it a
    renamed parent is seen by comparison with the draft alone.
    """
    num_nodes = int(valid.sum())
    if len(draft_parents) != num_nodes:
        message = f"{len(draft_parents)} nodes were drafted, {num_nodes} are valid"
        yield Violation(message, "draft_parents", found=len(draft_parents), expected=num_nodes)
        return
    for node in range(num_nodes):
        if parents[node] != draft_parents[node]:
            message = f"node {node} was drafted below {draft_parents[node]}, its parent is {parents[node]}"
            found, expected = int(parents[node]), int(draft_parents[node])
            yield Violation(message, "parents", node, found=found, expected=expected)
