"""The drafter: scores that are log-probabilities, beams of the level above, attention to what exists."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

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


@invariant("DRAFT001", name="score-is-no-log-probability", stage="draft", requires=("ROW001",))
def score_is_no_log_probability(draft_logprobs: FloatArray, valid: BoolArray) -> Violations:
    """A node's cumulative log-probability is NaN, infinite or above zero, or the root's is not zero.

    ## What it does
    Checks each valid node's score, with a slack of 1e-5 for the rounding of a log-softmax.

    ## Why it matters
    Ranks of NaN mean nothing: a child survives the selection without its parent. A positive score is a logit
    or a probability that was taken for a log-probability.

    ## Example
    `draft_logprobs[2]` is 0.7: probabilities were handed over.

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


@invariant(
    "DRAFT002", name="child-likelier-than-parent", stage="draft", requires=("DRAFT001", "TREE002", "TREE003")
)
def child_likelier_than_parent(draft_logprobs: FloatArray, parents: IntArray, valid: BoolArray) -> Violations:
    """A node's cumulative log-probability is above its parent's.

    ## What it does
    Checks `draft_logprobs[node] <= draft_logprobs[parent]` for each valid node, with a slack of 1e-5.

    ## Why it matters
    A cumulative score can only fall along a path, so the node hangs on the wrong parent: a lookup of parents
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


@invariant("DRAFT003", name="beam-of-another-level", stage="draft")
def beam_of_another_level(beam_flat_ids: IntArray, top_k: int) -> Violations:
    """An expanded beam is not a candidate of the level above, or is expanded twice, or a level is not full.

    ## What it does
    Cuts `beam_flat_ids` into levels of `top_k` and checks each against the flat numbers of the candidates
    that the level above made: 0..K-1, then K * K per level; no number twice, and every level full.

    ## Why it matters
    The drafter goes on from a row of another level: its keys and its feature belong to another path.

    ## Example
    `top_k` is 2 and the second level expands candidate 1 again, which the first level made.

    ## Seen in
    sgl-project/sglang#8409 (1, 2, 3, 4, 5 expanded where 1, 1, 1, 3, 3 were needed),
    sgl-project/sglang#27338.

    ## Limits
    The official numbering with `top_k` beams at every level; leave the column null for other drafters.
    """
    if not len(beam_flat_ids):
        raise NotApplicableError("no beam was expanded")
    for place, beam in enumerate(beam_flat_ids.tolist()):
        level = place // top_k
        start = 0 if level == 0 else top_k + (level - 1) * top_k * top_k
        stop = start + (top_k if level == 0 else top_k * top_k)
        if not start <= beam < stop:
            message = (
                f"beam {beam} is expanded at level {level + 1}, whose candidates are {start}..{stop - 1}"
            )
            yield Violation(message, "beam_flat_ids", found=beam, expected=start)
        elif beam in beam_flat_ids[:place].tolist():
            yield Violation(f"beam {beam} is expanded twice", "beam_flat_ids", found=beam)
    if len(beam_flat_ids) % top_k:
        message = f"{len(beam_flat_ids)} beams are no whole number of levels of {top_k}"
        yield Violation(message, "beam_flat_ids", found=len(beam_flat_ids))


@invariant("DRAFT004", name="attention-to-what-is-not-there", stage="draft", requires=("TREE004",))
def attention_to_what_is_not_there(
    draft_top1_offsets: Any, depths: IntArray, committed_len: int
) -> Violations:
    """The drafter attends most to a key after its query or before the first token.

    ## What it does
    Checks `0 <= draft_top1_offsets[node, head] <= committed_len + depths[node]` wherever a node was expanded.

    ## Why it matters
    A negative distance is attention to the future or to a stale row behind the query; one beyond the first
    token is a row that was never written, or positions that disagree with the cache.

    ## Example
    Node 0 at L = 10 attends most to a key 25 positions back.

    ## Seen in
    ggml-org/llama.cpp#26478 (drafter's last position disagrees with the batch), Ascend/sglang pull request
    141.

    ## Limits
    The most attended key only, from an eager probe; a leak with little weight is not seen.
    """
    values = np.ma.getdata(draft_top1_offsets)
    absent = np.ma.getmaskarray(draft_top1_offsets)
    if absent.all():
        raise NotApplicableError("no node was expanded")
    for node in range(len(depths)):
        limit = committed_len + int(depths[node])
        seen = values[node][~absent[node]].tolist()
        wrong = [offset for offset in seen if not 0 <= offset <= limit]
        if wrong:
            message = f"node {node} attends {listed(wrong)} positions back, there are 0..{limit}"
            yield Violation(message, "draft_top1_offsets", node, found=wrong[0], expected=limit)


@invariant(
    "DRAFT005", name="drafts-of-the-step-before", stage="draft", scope="turn", requires=("ROW001", "STEP001")
)
def drafts_of_the_step_before(
    *,
    token_ids: IntArray,
    parents: IntArray,
    draft_logprobs: FloatArray,
    previous_token_ids: IntArray,
    previous_parents: IntArray,
    previous_draft_logprobs: FloatArray,
) -> Violations:
    """The drafted tree is the previous step's, tokens and scores equal to the bit.

    ## What it does
    Compares tokens (root excluded), parents and scores with those of the step before, which had another
    context by at least one token.

    ## Why it matters
    The drafter's output was not written: a graph was replayed on old buffers, or a result was kept. The
    output stays right, acceptance falls to chance.

    ## Example
    Two steps in a row draft the same 59 nodes with the same scores.

    ## Seen in
    sgl-project/sglang#15399 (stale output buffer after replay), vllm-project/vllm-ascend#10878 (buffers
    shared by all draft steps).

    ## Limits
    Needs at least four draft nodes and scores that are not all alike: a drafter without scores repeats itself
    by right.
    """
    scores = draft_logprobs[1:]
    if len(scores) < 4 or len(set(scores.tolist())) < 2:
        raise NotApplicableError("fewer than four draft nodes, or no scores")
    same = (
        np.array_equal(token_ids[1:], previous_token_ids[1:])
        and np.array_equal(parents, previous_parents)
        and np.array_equal(scores, previous_draft_logprobs[1:])
    )
    if same:
        message = f"all {len(scores)} drafts and their scores are those of the step before"
        yield Violation(message, "token_ids", found=listed(token_ids[1:].tolist()))
