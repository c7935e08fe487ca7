"""What was verified against what was proposed, and how many drafts the step before rejected."""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np

from invariants.batch.flat import Ragged
from invariants.mutation import Case, Changes, Pick
from invariants.prefilter import Flags, applicability, has_drafts, prefilter
from invariants.rule import (
    BoolArray,
    IntArray,
    NotApplicableError,
    Violation,
    Violations,
    draft_nodes,
    invariant,
)


@invariant("DRAFT007", stage="tensorize", requires=("ROW001",))
def verified_draft_was_not_proposed(
    proposed_token_ids: IntArray, token_ids: IntArray, parents: IntArray, valid: BoolArray
) -> Violations:
    """A draft token that is verified is not the one that the drafter proposed at its place.

    ## What it does
    In a chain, the drafts of the step must be the first of `proposed_token_ids`, as many as were scheduled.
    In a tree, each drafted token must be among the proposed ones, as often as it is drafted.

    ## Why it matters
    Proposals travel through buffers of the batch. Those of the step before, or of another request, are
    rejected: the text stays right and the speed is gone.

    ## Example
    The drafter proposed 5, 8, 3 and the rows of the step hold 5, 9.

    ## Seen in
    Buffers of drafts that are overwritten before they are copied, batches whose rows were condensed between
    proposal and verification.

    ## Limits
    Placeholders (negative ids) say nothing. A grammar may shorten what was proposed, never change it.
    """
    drafted = token_ids[draft_nodes(valid)].tolist()
    proposed = proposed_token_ids.tolist()
    if not len(proposed) or min(proposed) < 0:
        raise NotApplicableError("no proposal, or placeholders of one")
    nodes = np.flatnonzero(valid)
    if (parents[nodes[1:]] == nodes[:-1]).all():
        places = range(len(drafted))
        wrong = next((i for i in places if i >= len(proposed) or drafted[i] != proposed[i]), None)
    else:
        wrong, left = None, Counter(proposed)
        for place, token in enumerate(drafted):
            left[token] -= 1
            if left[token] < 0:
                wrong = place
                break
    if wrong is not None:
        node, token = int(nodes[wrong + 1]), drafted[wrong]
        expected = proposed[wrong] if wrong < len(proposed) else None
        known = "nothing more was proposed" if expected is None else f"{expected} was proposed there"
        message = f"node {node} is drafted as token {token}, {known}"
        yield Violation(message, "token_ids", node, found=token, expected=expected)


@invariant("STEP006", stage="draft", requires=("ROW001", "STEP001"))
def rejected_count_of_another_step(
    num_rejected_before: int,
    previous_valid: BoolArray,
    previous_accepted_nodes: IntArray,
    request_epoch: int | None = None,
    previous_request_epoch: int | None = None,
) -> Violations:
    """The number of drafts by which an engine corrects its lengths is not what the step before rejected.

    ## What it does
    Checks `num_rejected_before` against the drafted nodes of the step before, less those that it accepted.

    ## Why it matters
    An engine that launches ahead supposes that every draft is accepted and takes the rejected ones off
    afterwards. The count of another request, or of an older step, shifts positions and lengths.

    ## Example
    Five tokens were drafted and two accepted, and the next step takes off one.

    ## Seen in
    vllm-project/vllm-ascend#8230 (rejected tokens not subtracted).

    ## Limits
    A step after a preemption is left out: its rows are computed again.
    """
    if (request_epoch or 0) != (previous_request_epoch or 0):
        raise NotApplicableError("the request was preempted since the step before")
    rejected = int(previous_valid.sum()) - 1 - len(previous_accepted_nodes)
    if num_rejected_before != rejected:
        message = f"{num_rejected_before} drafts are taken off, the step before rejected {rejected}"
        found = int(num_rejected_before)
        yield Violation(message, "num_rejected_before", found=found, expected=rejected)


CLAUSES: Final = (
    applicability("DRAFT007")(
        lambda proposed_token_ids, valid: (
            proposed_token_ids.any_step(proposed_token_ids.values < 0)
            + 2 * (proposed_token_ids.lengths > 0)
            + 4 * has_drafts(valid)
        )
    ),
    applicability("STEP006")(
        lambda num_rejected_before, request_epoch=None, previous_request_epoch=None: (
            num_rejected_before * 0 + (_or_zero(request_epoch) != _or_zero(previous_request_epoch))
        )
    ),
    prefilter("STEP006")(
        lambda num_rejected_before, previous_valid, previous_accepted_nodes: (
            num_rejected_before != previous_valid.sum(axis=1) - 1 - previous_accepted_nodes.lengths
        )
    ),
)


def _or_zero(epoch: IntArray | None) -> IntArray | int:
    return 0 if epoch is None else epoch


@prefilter("DRAFT007")
def _not_the_proposed_chain(
    proposed_token_ids: Ragged, token_ids: IntArray, parents: IntArray, valid: BoolArray
) -> Flags:
    size = valid.shape[1] - 1
    live, rows = valid[:, 1:], np.arange(len(valid))[:, None]
    proposed = np.full((len(valid), size), -1, dtype=np.int64)
    short = proposed_token_ids.place < size
    at = proposed_token_ids.owner[short], proposed_token_ids.place[short]
    proposed[at] = proposed_token_ids.values[short]
    is_chain = np.where(live, parents[:, 1:] == np.arange(size), True).all(axis=1)
    is_chain &= (np.sort(~valid, axis=1) == ~valid).all(axis=1)
    same = np.where(live, token_ids[rows, 1 + np.arange(size)] == proposed, True).all(axis=1)
    return ~(is_chain & same) & (proposed_token_ids.lengths > 0)


def _as_proposed(case: Case, tokens: list[int]) -> Case:
    return case.edited(proposed_token_ids=np.array(tokens, dtype=np.int32))


def _another_was_proposed(case: Case, pick: Pick) -> Case:
    tokens: list[int] = case.row["token_ids"][case.drafts].tolist()
    tokens[pick(range(len(tokens)))] = case.other_token(-1)
    return _as_proposed(case, tokens)


def _fewer_were_proposed(case: Case, _: Pick) -> Case:
    case.where(len(case.drafts) > 1, "one draft")
    return _as_proposed(case, case.row["token_ids"][case.drafts[:-1]].tolist())


def _rejected_off(case: Case, by: int) -> Case:
    earlier = case.earlier
    rejected = int(earlier["valid"].sum()) - 1 - len(earlier["accepted_nodes"])
    return case.edited(num_rejected_before=rejected + by)


MUTATIONS: Final[Changes] = {
    "DRAFT007 another-token-proposed": _another_was_proposed,
    "DRAFT007 fewer-tokens-proposed": _fewer_were_proposed,
    "STEP006 one-rejection-too-many": lambda case, _: _rejected_off(case, 1),
    "STEP006 rejection-not-counted": lambda case, _: _rejected_off(case, -1),
}
