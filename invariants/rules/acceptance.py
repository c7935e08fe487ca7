"""Acceptance: the path, the teacher's choices along it, and the tokens that go out."""

from __future__ import annotations

from invariants.rule import (
    BoolArray,
    IntArray,
    NotApplicableError,
    Violation,
    Violations,
    draft_nodes,
    invariant,
    listed,
)


@invariant("ACC001", name="path-leaves-the-tree", stage="accept", requires=("TREE002", "TREE003"))
def path_leaves_the_tree(accepted_nodes: IntArray, parents: IntArray, valid: BoolArray) -> Violations:
    """The accepted nodes are not a path downwards from the root.

    ## What it does
    Checks that each accepted node is a valid draft node whose parent is the accepted node before it, the
    first one's parent being the root.

    ## Why it matters
    Tokens of two branches are glued together, or a filler past a leaf is taken for a token.

    ## Example
    `accepted_nodes = [1, 4]` and node 4 hangs on node 2.

    ## Seen in
    FasterDecoding/Medusa (a filler 0 past a leaf matches a real token 0), pie-project/pie pull request 197
    (wrong sibling search in the acceptance walk).

    ## Limits
    An empty path is legal, and then there is nothing to look at.
    """
    if not len(accepted_nodes):
        raise NotApplicableError("no draft node was accepted")
    before = 0
    for node in accepted_nodes.tolist():
        if not 0 < node < len(parents):
            message = f"accepted node {node} is not a draft node (there are 1..{len(parents) - 1})"
            yield Violation(message, "accepted_nodes", found=node)
            return
        if not valid[node]:
            yield Violation(f"accepted node {node} is padding", "accepted_nodes", node, found=node)
        elif parents[node] != before:
            message = f"accepted node {node} follows {before}, its parent is {parents[node]}"
            yield Violation(message, "accepted_nodes", node, found=before, expected=int(parents[node]))
        before = node


@invariant("ACC002", name="accepted-against-the-choice", stage="accept", requires=("ACC001",))
def accepted_against_the_choice(
    accepted_nodes: IntArray, parents: IntArray, token_ids: IntArray, target_token_ids: IntArray
) -> Violations:
    """An accepted node's token is not the teacher's choice after its parent.

    ## What it does
    Checks `token_ids[node] == target_token_ids[parents[node]]` for each accepted node.

    ## Why it matters
    The output is no longer what the teacher alone would have said: greedy speculation must lose nothing.
    The row of the parent decides; reading the node's own row is the classic off-by-one.

    ## Example
    The teacher's choice after the root is 5, and node 1 with token 7 is accepted.

    ## Seen in
    ohdearquant/lattice#243 (the first draft token was never compared), FasterDecoding/Medusa (filler token).

    ## Limits
    Greedy decoding; a sampling run does not record `target_token_ids` as its law.
    """
    if not len(accepted_nodes):
        raise NotApplicableError("no draft node was accepted")
    for node in accepted_nodes.tolist():
        choice = int(target_token_ids[parents[node]])
        if token_ids[node] != choice:
            message = (
                f"accepted node {node} has token {token_ids[node]}, "
                f"the choice after {parents[node]} is {choice}"
            )
            yield Violation(message, "accepted_nodes", node, found=int(token_ids[node]), expected=choice)


@invariant("ACC003", name="longer-path-available", stage="accept", requires=("ACC001", "ROW001"))
def longer_path_available(
    *,
    accepted_nodes: IntArray,
    parents: IntArray,
    token_ids: IntArray,
    target_token_ids: IntArray,
    valid: BoolArray,
    stop_reason: str | None = None,
) -> Violations:
    """The accepted path ends although a child with the teacher's next choice was in the tree.

    ## What it does
    Looks for a valid child of the last accepted node (or of the root) whose token is the teacher's choice.

    ## Why it matters
    The text stays right and tokens are given away at every step: the only sign is a lower speed.

    ## Example
    Nothing is accepted, the choice after the root is 5, and node 2 is a child of the root with token 5.

    ## Seen in
    NVIDIA/TensorRT-LLM#10343 (adding a branch shortened acceptance), ohdearquant/lattice#243.

    ## Limits
    Not checked in a step that was cut at EOS or at the token limit, where the path is shortened on purpose.
    """
    if stop_reason is not None:
        raise NotApplicableError(f"the step was cut ({stop_reason})")
    draft_nodes(valid)
    last = int(accepted_nodes[-1]) if len(accepted_nodes) else 0
    choice = int(target_token_ids[last])
    for node in range(1, len(parents)):
        if valid[node] and parents[node] == last and token_ids[node] == choice:
            message = f"the path ends at {last}, but its child {node} has the teacher's choice {choice}"
            yield Violation(message, "accepted_nodes", node, found=last, expected=node)
            return


@invariant("ACC004", name="final-token-from-another-row", stage="accept", requires=("ACC001",))
def final_token_from_another_row(
    accepted_nodes: IntArray, target_token_ids: IntArray, final_token_id: int
) -> Violations:
    """The final token is not the teacher's choice after the last accepted node.

    ## What it does
    Checks `final_token_id == target_token_ids[last]`, where `last` is the last accepted node or the root.

    ## Why it matters
    The bonus or correction is read from the wrong row: one wrong token per step, in fluent text.

    ## Example
    Nodes 1 and 3 are accepted, and the final token is the choice after node 1.

    ## Seen in
    SafeAILab/EAGLE pull request 47 (bonus from an earlier residual), sgl-project/sglang#26866 (bonus stride
    wrong for batches).

    ## Limits
    Greedy decoding. A token that is cut at EOS or at the limit is still the choice at its place.
    """
    last = int(accepted_nodes[-1]) if len(accepted_nodes) else 0
    choice = int(target_token_ids[last])
    if final_token_id != choice:
        rows = (target_token_ids == final_token_id).nonzero()[0].tolist()
        where = f"; it is the choice after {listed(rows)}" if rows else ""
        message = f"the final token is {final_token_id}, the choice after node {last} is {choice}{where}"
        yield Violation(message, "final_token_id", last, found=int(final_token_id), expected=choice)


@invariant("ACC005", name="emitted-is-not-path-plus-final", stage="accept", requires=("ACC001", "ROW001"))
def emitted_is_not_path_plus_final(
    accepted_nodes: IntArray, token_ids: IntArray, final_token_id: int, emitted_token_ids: IntArray
) -> Violations:
    """The emitted tokens are not the accepted tokens followed by the final one.

    ## What it does
    Compares `emitted_token_ids` with the tokens of `accepted_nodes` and then `final_token_id`.

    ## Why it matters
    The user gets a doubled, lost or swapped token while the cache holds the right ones, and from then on
    text and cache disagree.

    ## Example
    `emitted_token_ids = [5, 5, 9]` where 5 was accepted once.

    ## Seen in
    kekzl/imp#667 (a token doubled at the accept boundary), huggingface/transformers#46993 (one too many).

    ## Limits
    None.
    """
    expected = [int(token_ids[node]) for node in accepted_nodes.tolist()] + [int(final_token_id)]
    found = emitted_token_ids.tolist()
    if found != expected:
        message = f"emitted {listed(found)}; accepted path and final token are {listed(expected)}"
        yield Violation(message, "emitted_token_ids", found=listed(found), expected=listed(expected))
