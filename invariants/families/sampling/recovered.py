"""What a rejection leaves: never the token that was rejected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from invariants.families.sampling.decisions import RESIDUAL, SMALLEST_REST
from invariants.laws import chosen_by, require_sampled
from invariants.mutation import Case, Changes, Pick
from invariants.rule import (
    BoolArray,
    IntArray,
    NotApplicableError,
    Violation,
    Violations,
    draft_nodes,
    invariant,
)
from tracing.run_facts import SamplingSettings

LEAVE_NOTHING: Final = ("eagle", "match", *RESIDUAL)
"""Rules after which the final token is no child of the last accepted node."""


@invariant(
    "SAMP006", stage="accept", requires=("ACC001", "ROW001"), optional=("recovered_token_id", "target_probs")
)
def final_token_was_rejected(
    *,
    accepted_nodes: IntArray,
    parents: IntArray,
    token_ids: IntArray,
    valid: BoolArray,
    final_token_id: int,
    stop_reason: str | None = None,
    acceptance: str = "greedy",
    request_sampling: Mapping[str, SamplingSettings] | None = None,
    request_id: str | None = None,
    **more: Any,
) -> Violations:
    """The token after a rejection is one of those that were just rejected.

    ## What it does
    Checks that the final token of a sampled step is the token of no child of the last accepted node, and that
    a recovered token is the final one.

    ## Why it matters
    What a rejection leaves has no share for the rejected token, be it p without it or max(p - q, 0). Drawing
    from the whole law again gives likely tokens a second chance: a total variation of .11 to .24.

    ## Example
    Node 1 with token 5 is rejected, and the final token is 5.

    ## Seen in
    Medusa's nucleus acceptance; samplers that resample from the full law after a rejection.

    ## Limits
    Not after a cut, nor for block verification, whose residual may hold the token. No draw is needed.
    """
    chosen = chosen_by(request_sampling, request_id, acceptance)
    require_sampled(chosen)
    if stop_reason is not None:
        raise NotApplicableError(f"the step was cut ({stop_reason})")
    recovered = more.get("recovered_token_id")
    if recovered is not None and recovered != final_token_id:
        message = f"token {recovered} was recovered, the final token is {final_token_id}"
        yield Violation(message, "recovered_token_id", found=recovered, expected=final_token_id)
    if chosen.acceptance not in LEAVE_NOTHING:
        raise NotApplicableError(f"after {chosen.acceptance} a rejected token may come")
    last = int(accepted_nodes[-1]) if len(accepted_nodes) else 0
    below = [node for node in draft_nodes(valid) if parents[node] == last]
    probs = more.get("target_probs")
    if probs is not None and float(np.sum(probs[below])) > 1 - SMALLEST_REST:
        raise NotApplicableError("the rejected tokens were all that the law had, but for rounding")
    same = [node for node in below if token_ids[node] == final_token_id]
    if same:
        message = (
            f"the final token {final_token_id} is that of node {same[0]}, which was not accepted after {last}"
        )
        yield Violation(message, "final_token_id", same[0], found=int(final_token_id))


def _rejected_comes_again(case: Case, pick: Pick) -> Case:
    last = case.accepted[-1] if case.accepted else 0
    child = pick([node for node in case.drafts if case.row["parents"][node] == last])
    token = int(case.row["token_ids"][child])
    made = case.uncut.poked("emitted_token_ids", -1, token).edited(final_token_id=token)
    return made.in_run(acceptance="eagle")


MUTATIONS: Final[Changes] = {
    "SAMP006 rejected-comes-again": _rejected_comes_again,
    "SAMP006 recovered-is-another": lambda case, _: case.uncut.edited(
        recovered_token_id=case.other_token(case.row["final_token_id"])
    ).in_run(acceptance="eagle"),
}
