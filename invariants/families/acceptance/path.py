"""Acceptance: the path and the teacher's choices along it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from invariants.batch.flat import Ragged
from invariants.mutation import Case, Changes, NoPlaceError, Pick
from invariants.prefilter import Flags, applicability, entries_at, has_drafts, prefilter
from invariants.rule import (
    BoolArray,
    IntArray,
    NotApplicableError,
    Violation,
    Violations,
    draft_nodes,
    invariant,
    require_greedy,
)
from tracing.digest import chain


@invariant("ACC001", stage="accept", requires=("TREE002", "TREE003"))
def path_leaves_the_tree(accepted_nodes: IntArray, parents: IntArray, valid: BoolArray) -> Violations:
    """The accepted nodes are not a path downwards from the root.

    ## What it does
    Checks that each accepted node is a valid draft node whose parent is the accepted node before it, the
    first one's parent being the root.

    ## Why it matters
    Tokens of two branches are glued together, or a filler past a leaf is taken for a token.

    ## Example
    `accepted_nodes = [1, 4]` and node 4 is a child of node 2.

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


@invariant("ACC002", stage="accept", requires=("ACC001",))
def accepted_against_the_choice(
    accepted_nodes: IntArray,
    parents: IntArray,
    token_ids: IntArray,
    target_token_ids: IntArray,
    acceptance: str = "greedy",
) -> Violations:
    """An accepted node's token is not the teacher's choice after its parent.

    ## What it does
    Checks `token_ids[node] == target_token_ids[parents[node]]` for each accepted node.

    ## Why it matters
    The output is no longer what the teacher alone would have emitted: greedy speculation must lose nothing.
    The row of the parent decides; reading the node's own row is the classic off-by-one.

    ## Example
    The teacher's choice after the root is 5, and node 1 with token 7 is accepted.

    ## Seen in
    ohdearquant/lattice#243 (the first draft token was never compared), FasterDecoding/Medusa (filler token).

    ## Limits
    Greedy decoding; where tokens are sampled, the choice is not the law.
    """
    require_greedy(acceptance)
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


@invariant("ACC003", stage="accept", requires=("ACC001", "ROW001"))
def longer_path_available(
    *,
    accepted_nodes: IntArray,
    parents: IntArray,
    token_ids: IntArray,
    target_token_ids: IntArray,
    valid: BoolArray,
    stop_reason: str | None = None,
    acceptance: str = "greedy",
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
    Not checked in a step that was cut at EOS or at the token limit, where the path is shortened on purpose,
    nor where tokens are sampled.
    """
    require_greedy(acceptance)
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


CLAUSES: Final = (
    applicability("ACC001", "ACC002")(lambda accepted_nodes: accepted_nodes.lengths > 0),
    applicability("ACC003")(lambda stop_reason: stop_reason),
    applicability("ACC003")(has_drafts),
)


@prefilter("ACC001")
def _not_a_draft_node(accepted_nodes: Ragged, drafts: BoolArray) -> Flags:
    node, num_nodes = accepted_nodes.values, drafts.shape[1]
    inside = (node >= 0) & (node < num_nodes)
    return accepted_nodes.any_step(~(inside & entries_at(drafts, accepted_nodes.owner, node)))


@prefilter("ACC001")
def _not_downwards(accepted_nodes: Ragged, parents: IntArray) -> Flags:
    parent = entries_at(parents, accepted_nodes.owner, accepted_nodes.values)
    return accepted_nodes.any_step(parent != _nodes_before(accepted_nodes))


@prefilter("ACC002")
def _not_the_choice(accepted_nodes: Ragged, token_ids: IntArray, target_token_ids: IntArray) -> Flags:
    token = entries_at(token_ids, accepted_nodes.owner, accepted_nodes.values)
    choice = entries_at(target_token_ids, accepted_nodes.owner, _nodes_before(accepted_nodes))
    return accepted_nodes.any_step(token != choice)


def _nodes_before(accepted: Ragged) -> IntArray:
    """Return the accepted node before each one, the root before the first, `[total]`."""
    return np.where(accepted.place == 0, 0, np.roll(accepted.values, 1))


@prefilter("ACC003")
def _child_with_the_choice(
    *,
    accepted_nodes: Ragged,
    parents: IntArray,
    token_ids: IntArray,
    target_token_ids: IntArray,
    drafts: BoolArray,
    stop_reason: Any = None,
) -> Flags:
    if stop_reason is not None:
        return False
    last = accepted_nodes.last(0)
    choice = entries_at(target_token_ids, np.arange(len(last)), last)
    has_choice = drafts & (token_ids == choice[:, None])
    return has_choice & (parents == last[:, None]) if has_choice.any() else has_choice


def _accepting(case: Case, *nodes: int) -> Case:
    return case.edited(accepted_nodes=np.array(nodes, dtype=np.int32))


def _path_jumps(case: Case, pick: Pick) -> Case:
    parents = case.row["parents"]
    before = case.accepted[-2] if len(case.accepted) > 1 else 0
    stranger = pick([node for node in case.drafts if parents[node] != before])
    return _accepting(case, *case.accepted[:-1], stranger)


def _unchosen_accepted(case: Case, pick: Pick) -> Case:
    node = pick(case.accepted)
    return case.chose(case.row["parents"][node], case.other_token(case.row["token_ids"][node]))


def _stopped_one_short(case: Case, _: Pick) -> Case:
    row = case.row
    if row["stop_reason"] is not None or not case.accepted:
        raise NoPlaceError("nothing to drop")
    kept = row["accepted_nodes"][:-1]
    path = [0, *kept.tolist()]
    return case.edited(
        accepted_nodes=kept,
        final_token_id=int(row["emitted_token_ids"][-2]),
        emitted_token_ids=row["emitted_token_ids"][:-1],
        path_indices=row["path_indices"][:-1],
        committed_len_after=row["committed_len_after"] - 1,
        kv_digest_after=chain(row["kv_digest_before"], row["kv_row_digests"][path]),
    )


MUTATIONS: Final[Changes] = {
    "ACC001 path-jumps": _path_jumps,
    "ACC001 pad-accepted": lambda case, pick: _accepting(case, *case.accepted, pick(case.pads)),
    "ACC001 filler-accepted": lambda case, pick: _accepting(
        case, *case.accepted, pick([-1, len(case.row["valid"])])
    ),
    "ACC002 unchosen-accepted": _unchosen_accepted,
    "ACC003 stopped-one-short": _stopped_one_short,
    "ACC001 root-accepted": lambda case, _: _accepting(case, 0, *case.accepted),
}
