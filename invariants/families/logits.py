"""The teacher's recorded best logits: finite, in agreement with the choice, each row its own."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from invariants.constraint import ALTERED, CONSTRAINT, may_be_constrained, unconstrained
from invariants.mutation import Case, Changes, NoPlaceError, Pick
from invariants.prefilter import Flags, applicability, by_step, prefilter
from invariants.rule import (
    BoolArray,
    FloatArray,
    IntArray,
    NotApplicableError,
    Violation,
    Violations,
    invariant,
)


@invariant("LOGIT001", stage="verify", requires=("ROW001",))
def logit_not_finite(
    target_top_logits: FloatArray, valid: BoolArray, logits_kind: str | None = None
) -> Violations:
    """A valid node has a NaN or an infinity among its best logits.

    ## What it does
    Checks every recorded logit of each valid node.

    ## Why it matters
    A NaN makes every comparison false: the choice is whatever the operator returns, and the KV row behind it
    is wrong for all later steps.

    ## Example
    `target_top_logits[3, 0]` is NaN.

    ## Seen in
    SafeAILab/EAGLE pull request 69 (fp16 overflow after 192 tokens), tc-mb/llama.cpp-omni pull request 89
    (infinities in a bias), sgl-project/sglang#27545.

    ## Limits
    Sees the K recorded logits; a NaN that the selection of the best K skips is not recorded. Pads are exempt:
    a fully masked row may hold anything. Masked or processed logits (`logits_kind`) of tokens that are not
    allowed may be minus infinity.
    """
    lawful = {-math.inf} if logits_kind in ALTERED else set()
    for node in range(len(valid)):
        row = target_top_logits[node].tolist()
        bad = [logit for logit in row if not math.isfinite(logit) and logit not in lawful]
        if valid[node] and bad:
            message = f"node {node} has {len(bad)} logits that are not finite, the first {bad[0]}"
            yield Violation(message, "target_top_logits", node, found=str(bad[0]))


@invariant("LOGIT002", stage="verify", requires=("LOGIT001",), optional=CONSTRAINT)
def choice_is_not_the_best(
    target_token_ids: IntArray,
    target_top_ids: IntArray,
    target_top_logits: FloatArray,
    valid: BoolArray,
    **constraint: Any,
) -> Violations:
    """The teacher's choice after a node is not the token with the highest logit, ties to the lower id.

    ## What it does
    Takes the highest recorded logit of each valid node, and among the tokens that have it the lowest id.

    ## Why it matters
    The choice comes from another row, another dtype or another tie rule than the logits: two implementations
    that break ties differently part on equal logits, which half precision makes common.

    ## Example
    Tokens 5 and 9 both have 23.5, and the choice is 9.

    ## Seen in
    vllm-project/vllm#7627 (`>` in one path, `>=` in the other), ohdearquant/lattice#280 (last maximum against
    first), RBLN-SW/vllm-rbln#630 (23.5 against 23.5 in bf16).

    ## Limits
    When all K recorded logits are equal the lowest id may not be among them, and the node is passed over. A
    node whose choice a grammar or a bias constrains (`allowed_digest`, `constrained_choice` of the model
    facts) is passed over, unless the logits are those that were chosen from (`logits_kind`). Where nothing
    says whether choices are constrained, less than half of the nodes that differ, not by a tie, are not
    checked.
    """
    if not target_top_ids.shape[1]:
        raise NotApplicableError("no top logits were recorded")
    free = unconstrained(valid, **constraint)
    wrong: dict[int, Violation] = {}
    tied = False
    for node in range(len(valid)):
        logits = target_top_logits[node].tolist()
        best = max(logits)
        if not valid[node] or not free[node] or (len(logits) > 1 and min(logits) == best):
            continue
        equal = [
            int(token) for token, logit in zip(target_top_ids[node], logits, strict=True) if logit == best
        ]
        found, expected = int(target_token_ids[node]), min(equal)
        if found != expected:
            tied |= found in equal
            message = f"the choice after node {node} is {found}, the best logit {best} is {expected}'s"
            wrong[node] = Violation(message, "target_token_ids", node, found=found, expected=expected)
    if wrong and not tied and may_be_constrained(list(wrong), valid, constraint):
        raise NotApplicableError(
            f"{len(wrong)} choices, first after node {min(wrong)}, are not the best of their logits, and "
            "the manifest does not say whether a grammar may constrain them (model_facts.constrained_choice)"
        )
    yield from wrong.values()


@invariant("LOGIT004", stage="verify", requires=("ROW001",))
def choice_outside_constraint(choice_allowed: BoolArray, valid: BoolArray) -> Violations:
    """The teacher's choice after a node is a token that the grammar does not allow there.

    ## What it does
    Checks that `choice_allowed` is True for each valid node.

    ## Why it matters
    The output breaks the format that the user asked for. The mask was that of another row, or was not
    advanced along the tree's branch.

    ## Example
    After node 3 a closing brace is required and the choice is a letter.

    ## Seen in
    vllm-project/vllm#44006 (the bonus row inherits the full mask of padded drafts) and #54437 (every row
    behind the first invalid draft is unconstrained).

    ## Limits
    The engine's own word on what is allowed. Pads are exempt.
    """
    for node in range(len(valid)):
        if valid[node] and not choice_allowed[node]:
            message = f"the choice after node {node} is a token that is not allowed there"
            yield Violation(message, "choice_allowed", node, found=0, expected=1)


@invariant("LOGIT003", stage="verify", severity="warning", requires=("LOGIT001",))
def logit_rows_identical(
    target_top_ids: IntArray, target_top_logits: FloatArray, token_ids: IntArray, valid: BoolArray
) -> Violations:
    """All nodes, though their tokens differ, have the same best logits to the bit.

    ## What it does
    Compares ids and logits of every valid node with the root's; speaks when all agree and tokens do not.

    ## Why it matters
    The head was given one row for all nodes. With one row right, the first token of a step is right, too, and
    the rest are copies.

    ## Example
    Every node predicts token 7 with logit 12.25.

    ## Seen in
    vllm-project/vllm-ascend#12262 (logits from the last hidden state for all rows),
    vllm-project/vllm-ascend#15329 (prefill and single tokens right, verification of two rows collapses).

    ## Limits
    A warning: a teacher that ignores its input does this legitimately. Needs at least three nodes and four
    logits.
    """
    nodes = valid.nonzero()[0].tolist()
    if len(nodes) < 3 or target_top_ids.shape[1] < 4 or len(set(token_ids[nodes].tolist())) < 2:
        raise NotApplicableError("fewer than three nodes, four logits or two tokens")
    same_ids = all((target_top_ids[node] == target_top_ids[0]).all() for node in nodes)
    same_logits = all((target_top_logits[node] == target_top_logits[0]).all() for node in nodes)
    if same_ids and same_logits:
        message = f"all {len(nodes)} nodes have the same best logits, their tokens differ"
        yield Violation(message, "target_top_logits", found=float(target_top_logits[0, 0]))


@prefilter("LOGIT004")
def _not_allowed(choice_allowed: BoolArray, valid: BoolArray) -> Flags:
    return valid & ~choice_allowed


@prefilter("LOGIT001")
def _not_finite(target_top_logits: FloatArray, valid: BoolArray) -> Flags:
    finite = np.isfinite(target_top_logits)
    return not finite.all() and (valid & ~finite.all(axis=2)).any(axis=1)


@prefilter("LOGIT002")
def _not_the_best(
    target_token_ids: IntArray, target_top_ids: IntArray, target_top_logits: FloatArray, valid: BoolArray
) -> Flags:
    """Take the first token where its logit is above all others; compare the other rows as the law does."""
    if target_top_ids.shape != target_top_logits.shape or not target_top_ids.shape[2]:
        return np.zeros(len(valid), dtype=np.bool_)
    alone = valid & _first_is_best(target_top_logits)
    unlike = alone & (target_token_ids != target_top_ids[:, :, 0])
    found = by_step(unlike) if unlike.any() else np.zeros(len(valid), dtype=np.bool_)
    step, node = np.divmod(np.flatnonzero(valid & ~alone), valid.shape[1])
    if not len(step):
        return found
    logits, tokens = target_top_logits[step, node], target_top_ids[step, node]
    best = logits == logits.max(axis=1, keepdims=True)
    expected = np.where(best, tokens, np.iinfo(np.int64).max).min(axis=1)
    found[step[~best.all(axis=1) & (target_token_ids[step, node] != expected)]] = True
    return found


def _first_is_best(logits: FloatArray) -> BoolArray:
    """Return where the first logit is above all others, `[G, N]`; rows that fall all the way are usual."""
    num_top = logits.shape[2]
    if num_top == 1:
        return np.ones(logits.shape[:2], dtype=np.bool_)
    best: BoolArray = logits[:, :, 0] > logits[:, :, 1]
    flat = logits.reshape(-1)
    falls: Any = flat[1:] <= flat[:-1]
    falls[num_top - 1 :: num_top] = True  # from one row to the next
    if not falls.all():
        for rank in range(2, num_top):
            best &= logits[:, :, 0] > logits[:, :, rank]
    return best


@prefilter("LOGIT003")
def _all_alike(target_top_logits: FloatArray, valid: BoolArray) -> Flags:
    if not target_top_logits.shape[2]:
        return np.zeros(len(valid), dtype=np.bool_)
    firsts = target_top_logits[:, :, 0]
    found = ((firsts[:, :2] == firsts[:, :1]) | ~valid[:, :2]).all(axis=1)
    if found.any():
        shown, some = firsts[found], valid[found]
        alike = ((shown == shown[:, :1]) | ~some).all(axis=1)
        found[found] = alike & (np.count_nonzero(some, axis=1) > 2)
    return found


@applicability("LOGIT003")
def _three_nodes_two_tokens(valid: BoolArray, token_ids: IntArray) -> Flags:
    differ = (valid & (token_ids != token_ids[:, :1])).any(axis=1)
    return differ & (np.count_nonzero(valid, axis=1) > 2)


def _second_best_chosen(case: Case, pick: Pick) -> Case:
    node = pick(case.nodes)
    return case.poked("target_top_ids", node, np.roll(case.row["target_top_ids"][node], 1))


def _tie_to_the_higher(case: Case, pick: Pick) -> Case:
    node = pick(case.nodes)
    case = case.poked("target_top_ids", (node, 1), case.row["target_token_ids"][node] - 1)
    return case.poked("target_top_logits", (node, 1), case.row["target_top_logits"][node, 0])


def _one_logit_row_for_all(case: Case, _: Pick) -> Case:
    if len(case.drafts) < 2 or len(set(case.row["token_ids"][case.nodes].tolist())) < 2:
        raise NoPlaceError("too small a tree")
    columns = ("target_token_ids", "target_top_ids", "target_top_logits")
    for column in columns:
        case = case.poked(column, case.row["valid"], case.row[column][0])
    return case.reaccepted()


MUTATIONS: Final[Changes] = {
    "LOGIT001 logit-nan": lambda case, pick: case.poked("target_top_logits", (pick(case.nodes), 1), np.nan),
    "LOGIT002 second-best-chosen": _second_best_chosen,
    "LOGIT002 tie-to-the-higher-id": _tie_to_the_higher,
    "LOGIT003 one-logit-row-for-all": _one_logit_row_for_all,
    "LOGIT004 choice-outside-the-grammar": lambda case, pick: case.edited(
        choice_allowed=np.ones(len(case.row["valid"]), dtype=np.bool_)
    ).poked("choice_allowed", pick(case.nodes), False),
}
