"""Scores and drafts: log-probabilities that fall along a path, and none of the step before."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from invariants.examples import Tree, legal_step
from invariants.mutation import Case, Changes, NoPlaceError, Pick
from invariants.prefilter import Flags, applicability, has_drafts, prefilter
from invariants.rule import (
    BoolArray,
    FloatArray,
    IntArray,
    NotApplicableError,
    Violation,
    Violations,
    draft_nodes,
    invariant,
    listed,
)

LOGPROB_SLACK: Final = 1e-5
"""A fused log-softmax rounds x - logsumexp(x) a few float32 ULP above zero when one token has it all."""

LEAST_DRAFTS: Final = 4
"""Fewer drafts, pads left out, may come out equal by chance."""


@invariant("DRAFT001", stage="draft", requires=("ROW001",))
def score_is_no_log_probability(draft_logprobs: FloatArray, valid: BoolArray) -> Violations:
    """A node's cumulative log-probability is NaN, infinite or above zero, or the root's is not zero.

    ## What it does
    Checks each valid node's score, with a slack of 1e-5 for the rounding of a log-softmax.

    ## Why it matters
    Ranks of NaN mean nothing: a child survives the selection without its parent. A positive score is a logit
    or a probability that was taken for a log-probability.

    ## Example
    `draft_logprobs[2]` is 0.7: probabilities were passed.

    ## Seen in
    sgl-project/sglang#7477 (NaN logits break the selection), vllm-project/vllm-ascend#6685 (probabilities
    where logits were expected).

    ## Limits
    None.
    """
    for node in range(len(valid)):
        score = float(draft_logprobs[node])
        legal = math.isfinite(score) and score <= LOGPROB_SLACK and (node > 0 or abs(score) <= LOGPROB_SLACK)
        if valid[node] and not legal:
            message = f"node {node} has the cumulative log-probability {score}"
            yield Violation(message, "draft_logprobs", node, found=str(score), expected=None if node else 0.0)


@invariant("DRAFT002", stage="draft", requires=("DRAFT001", "TREE002", "TREE003"))
def child_likelier_than_parent(draft_logprobs: FloatArray, parents: IntArray, valid: BoolArray) -> Violations:
    """A node's cumulative log-probability is above its parent's.

    ## What it does
    Checks `draft_logprobs[node] <= draft_logprobs[parent]` for each valid node, with a slack of 1e-5.

    ## Why it matters
    A cumulative score can only fall along a path, so the node has the wrong parent: a lookup of parents
    in the selected nodes returned a neighbour.

    ## Example
    Node 4 has -1.0 and its parent -3.0.

    ## Seen in
    SafeAILab/EAGLE `topK_genrate` (parent lookup by sorted search without checking that it is selected),
    sgl-project/sglang#8409 (beam position taken for the beam's parent).

    ## Limits
    A wrong parent with a higher score is not seen here.
    """
    for node in draft_nodes(valid):
        score, parent_score = float(draft_logprobs[node]), float(draft_logprobs[parents[node]])
        if score > parent_score + LOGPROB_SLACK:
            message = f"node {node} scores {score:.6g}, its parent {parents[node]} only {parent_score:.6g}"
            yield Violation(message, "draft_logprobs", node, found=score, expected=parent_score)


@invariant("DRAFT005", stage="draft", requires=("ROW001", "STEP001"))
def drafts_of_the_step_before(
    *,
    token_ids: IntArray,
    parents: IntArray,
    valid: BoolArray,
    draft_logprobs: FloatArray,
    previous_token_ids: IntArray,
    previous_parents: IntArray,
    previous_draft_logprobs: FloatArray,
) -> Violations:
    """The drafted tree is the previous step's, tokens and scores equal to the bit, under another root.

    ## What it does
    Compares tokens, parents and scores with those of the step before, where the roots are two tokens.

    ## Why it matters
    The drafter's output was not written: a graph was replayed on old buffers, or a result was kept. The
    output stays right, acceptance falls to chance.

    ## Example
    Two steps in a row draft the same 59 nodes with the same scores.

    ## Seen in
    sgl-project/sglang#15399 (stale output buffer after replay), vllm-project/vllm-ascend#10878 (buffers
    shared by all draft steps).

    ## Limits
    Needs at least four draft nodes and scores that are not all alike: a drafter without scores
    legitimately repeats itself. So does any drafter after the same token, where the text repeats itself as
    far back as the drafter looks.
    """
    scores = draft_logprobs[draft_nodes(valid)]
    if len(scores) < LEAST_DRAFTS or not (scores != scores[0]).any():
        raise NotApplicableError("fewer than four draft nodes, or no scores")
    same = (
        token_ids[0] != previous_token_ids[0]
        and np.array_equal(token_ids[1:], previous_token_ids[1:])
        and np.array_equal(parents, previous_parents)
        and np.array_equal(draft_logprobs[1:], previous_draft_logprobs[1:])
    )
    if same:
        message = f"all {len(scores)} drafts and their scores are those of the step before"
        yield Violation(message, "token_ids", 1, found=listed(token_ids[1:].tolist()))


CLAUSES: Final = (
    prefilter("DRAFT001")(lambda draft_logprobs: ~(np.abs(draft_logprobs[:, 0]) <= LOGPROB_SLACK)),
    applicability("DRAFT002")(has_drafts),
)


@prefilter("DRAFT001")
def _no_log_probability(draft_logprobs: FloatArray, valid: BoolArray) -> Flags:
    legal = np.isfinite(draft_logprobs) & (draft_logprobs <= LOGPROB_SLACK)
    return valid & ~legal


@prefilter("DRAFT002")
def _above_parent(draft_logprobs: FloatArray, above: IntArray, drafts: BoolArray) -> Flags:
    limit = draft_logprobs.take(above)
    found: BoolArray = drafts & ~(draft_logprobs <= limit)
    if found.any():
        found &= ~(draft_logprobs <= limit.astype(np.float64) + LOGPROB_SLACK)
    return found


@applicability("DRAFT005")
def _has_unlike_scores(draft_logprobs: FloatArray, drafts: BoolArray) -> Flags:
    first = np.take_along_axis(draft_logprobs, drafts.argmax(axis=1)[:, None], 1)
    unlike = (drafts & (draft_logprobs != first)).any(axis=1)
    return unlike & (np.count_nonzero(drafts, axis=1) >= LEAST_DRAFTS)


@prefilter("DRAFT005")
def _drafted_before(
    *,
    token_ids: IntArray,
    parents: IntArray,
    draft_logprobs: FloatArray,
    previous_token_ids: IntArray,
    previous_parents: IntArray,
    previous_draft_logprobs: FloatArray,
) -> Flags:
    same = np.full(len(parents), 4 < parents.shape[1] == previous_parents.shape[1])
    pairs = (
        (parents, previous_parents),
        (token_ids, previous_token_ids),
        (draft_logprobs, previous_draft_logprobs),
    )
    same &= token_ids[:, 0] != previous_token_ids[:, 0]
    for now, before in pairs if same.any() else ():
        same &= (now[:, 1:] == before[:, 1:]).all(axis=1)
    return same


def _child_likelier(case: Case, pick: Pick) -> Case:
    parents, scores = case.row["parents"], case.row["draft_logprobs"]
    node = pick([node for node in case.drafts if parents[node] > 0])
    return case.poked("draft_logprobs", node, scores[parents[node]] / 2)


def _same_drafts_again(case: Case, _: Pick) -> Case:
    old = case.previous
    if old is None or np.count_nonzero(old["valid"]) <= LEAST_DRAFTS:
        raise NoPlaceError("no previous step with four drafts")
    if case.row["token_ids"][0] == old["token_ids"][0]:
        raise NoPlaceError("the root is that of the step before")
    size = int(np.count_nonzero(old["valid"]))
    tree = Tree(
        parents=old["parents"][:size].tolist(),
        token_ids=[case.row["token_ids"][0], *old["token_ids"][1:size].tolist()],
        choices=old["target_token_ids"][:size].tolist(),
        num_pads=len(old["valid"]) - size,
    )
    case = case.edited(**legal_step(tree, case.before, case.context))
    return case.edited(draft_logprobs=old["draft_logprobs"])


MUTATIONS: Final[Changes] = {
    "DRAFT001 score-nan": lambda case, pick: case.poked("draft_logprobs", pick(case.drafts), np.nan),
    "DRAFT001 score-is-a-probability": lambda case, pick: case.poked(
        "draft_logprobs", pick(case.leaves), 0.5
    ),
    "DRAFT002 child-likelier-than-parent": _child_likelier,
    "DRAFT005 same-drafts-again": _same_drafts_again,
    "DRAFT001 score-minus-infinity": lambda case, pick: case.poked(
        "draft_logprobs", pick(case.leaves), -np.inf
    ),
    "DRAFT001 root-has-a-score": lambda case, _: case.poked("draft_logprobs", 0, -0.001),
}
