"""Each recorded acceptance, and what its draw decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from invariants.laws import ROUNDING, RowSampling, chosen_by, require_sampled
from invariants.mutation import Case, Changes, Pick
from invariants.rule import (
    BoolArray,
    FloatArray,
    IntArray,
    NotApplicableError,
    Violation,
    Violations,
    draft_nodes,
    invariant,
)
from tracing.run_facts import SamplingSettings

RESIDUAL: Final = ("rejection", "specinfer", "rsd")
"""Rules that accept with p / q; beyond a node's first child the law is not in the trace."""
SMALLEST_REST: Final = 2.0**-8
"""Below this what is left of a law has too few digits in a sum of float32 probabilities."""


@dataclass(frozen=True, slots=True)
class _Decision:
    """A drafted node that was tried: the chance that the rule gives it, None where it is not in the trace."""

    node: int
    is_accepted: bool
    chance: float | None
    tolerance: float = 0.0


def tried_children(
    parents: IntArray, token_ids: IntArray, valid: BoolArray, accepted: Sequence[int], *, distinct: bool
) -> Iterator[tuple[int, list[int]]]:
    """Yield each node of the path, root first, with its children in the order in which they are tried.

    Args:
        parents: Of each node, `[N]`.
        token_ids: Of each node, `[N]`.
        valid: Of each node, `[N]`.
        accepted: Accepted nodes.
        distinct: Of equal children only the first is tried.
    """
    for place, node in enumerate((0, *accepted)):
        children = [child for child in range(1, len(parents)) if valid[child] and parents[child] == node]
        if distinct:
            first = {int(token_ids[child]): child for child in reversed(children)}
            children = sorted(first.values())
        if place < len(accepted):
            upto = children.index(accepted[place]) + 1 if accepted[place] in children else len(children)
            children = children[:upto]
        yield node, children


@invariant(
    "SAMP005", stage="accept", requires=("ACC001", "SAMP001"), optional=("draft_probs", "context_token_ids")
)
def decision_against_its_draw(
    *,
    draws: FloatArray,
    target_probs: FloatArray,
    accepted_nodes: IntArray,
    parents: IntArray,
    token_ids: IntArray,
    valid: BoolArray,
    stop_reason: str | None = None,
    acceptance: str = "greedy",
    request_sampling: Mapping[str, SamplingSettings] | None = None,
    request_id: str | None = None,
    **more: Any,
) -> Violations:
    """A draft was accepted or rejected although its draw says the contrary.

    ## What it does
    For `eagle`, compares each draw with p over what earlier rejections left; for rules with p / q, the draw
    of each node's first child with min(1, p / q), from `target_probs` and `draft_probs`.

    ## Why it matters
    An acceptance that is a little too easy gives fluent text of another law than the teacher's, and a better
    speed: nothing but the recorded decision shows it.

    ## Example
    `target_probs[1] = 0.2`, its draw is 0.35, and node 1 is accepted.

    ## Seen in
    vllm-project/vllm-ascend#7807 (block verification against the product of all draws), sgl-project/sglang
    #35771 (a draft of probability 0 accepted by a draw of 0).

    ## Limits
    Steps that were cut hide where the path led. Draws closer to the border than rounding are left alone.
    Needs as many draws as the rule takes, in the order of their use or one a node (`draw_order`).
    """
    chosen = chosen_by(request_sampling, request_id, acceptance)
    require_sampled(chosen)
    if stop_reason is not None:
        raise NotApplicableError(f"the step was cut ({stop_reason})")
    num_drafts = len(draft_nodes(valid))
    accepted = accepted_nodes.tolist()
    tried = list(tried_children(parents, token_ids, valid, accepted, distinct=chosen.acceptance == "eagle"))
    decided = list(_decisions(chosen, tried, accepted, target_probs, more.get("draft_probs")))
    first = _first_draw(
        chosen, draws, len(decided), num_drafts, is_first=more.get("context_token_ids") is not None
    )
    for place, decision in enumerate(decided):
        draw = float(draws[decision.node if first is None else first + place])
        chance = decision.chance
        if chance is None or decision.is_accepted == (draw < chance):
            continue
        if abs(draw - chance) <= decision.tolerance and not (decision.is_accepted and chance == 0):
            continue
        was = "accepted" if decision.is_accepted else "rejected"
        message = f"node {decision.node} was {was}: its draw is {draw:.9g}, its chance {chance:.9g}"
        yield Violation(message, "accepted_nodes", decision.node, found=draw, expected=chance)
        return


def _decisions(
    chosen: RowSampling,
    tried: Sequence[tuple[int, list[int]]],
    accepted: Sequence[int],
    target_probs: FloatArray,
    draft_probs: FloatArray | None,
) -> Iterator[_Decision]:
    for _, children in tried:
        left = 1.0
        for rank, child in enumerate(children):
            probability, chance, tolerance = float(target_probs[child]), None, ROUNDING
            if chosen.acceptance == "eagle":
                chance = min(probability / left, 1.0) if left > SMALLEST_REST else None
                tolerance = ROUNDING / max(left, SMALLEST_REST)
                left -= probability
            elif (
                chosen.acceptance in RESIDUAL
                and rank == 0
                and draft_probs is not None
                and draft_probs[child] > 0
            ):
                chance = min(probability / float(draft_probs[child]), 1.0)
            yield _Decision(child, child in accepted, chance, tolerance * max(chance or 0.0, 2.0**-16))


def _first_draw(
    chosen: RowSampling, draws: FloatArray, num_decided: int, num_drafts: int, *, is_first: bool
) -> int | None:
    """Return the number of acceptance's first draw; None where draws are those of nodes.

    Raises:
        NotApplicableError: The recorded draws are not those that the rule takes.
    """
    if chosen.acceptance not in ("eagle", *RESIDUAL):
        raise NotApplicableError(f"what {chosen.acceptance} compares its draws with is not in the trace")
    if chosen.settings is not None and chosen.settings.draw_order == "node":
        if len(draws) <= num_drafts:
            raise NotApplicableError("there is not a draw for each node")
        return None
    before = len(draws) - num_decided - 1  # and one for the final token
    lawful = {int(is_first), int(is_first) + num_drafts}
    if before not in lawful:
        raise NotApplicableError("the recorded draws are not as many as the rule takes")
    return before


def sampled(case: Case, acceptance: str = "eagle") -> Case:
    """Return a case whose decisions are what its draws say."""
    row = case.uncut.row
    probs = np.where(row["valid"], np.float32(0.01), np.float32(0))
    probs[[0, *case.accepted]] = [1.0, *[0.9] * len(case.accepted)]
    accepted = row["accepted_nodes"].tolist()
    tried = list(
        tried_children(
            row["parents"], row["token_ids"], row["valid"], accepted, distinct=acceptance == "eagle"
        )
    )
    draws = [0.5] if row["context_token_ids"] is not None else []
    draws += [0.25 if child in accepted else 0.75 for _, children in tried for child in children]
    sampling = SamplingSettings(temperature=1.0, acceptance=acceptance)  # type: ignore[arg-type]  # a rule's name
    made = case.edited(draws=np.array([*draws, 0.5]), target_probs=probs)
    if acceptance in RESIDUAL:
        made = made.edited(draft_probs=np.where(probs > 0, np.float32(0.95), np.float32(0)))
    return made.in_run(acceptance=acceptance, request_sampling={"": sampling})


def _first_children(case: Case) -> list[int]:
    parents = case.row["parents"].tolist()
    return [node for node in case.accepted if parents.index(parents[node], 1) == node]


def _accepted_by(draw: float, acceptance: str) -> Any:
    def change(case: Case, pick: Pick) -> Case:
        node = pick(_first_children(case) if acceptance in RESIDUAL else case.accepted)
        made = sampled(case, acceptance)
        at = np.flatnonzero(made.row["draws"] == 0.25)[case.accepted.index(node)]
        return made.poked("draws", at, draw)

    return change


def _zero_accepted(case: Case, pick: Pick) -> Case:
    node = pick(case.accepted)
    made = sampled(case)
    at = np.flatnonzero(made.row["draws"] == 0.25)[case.accepted.index(node)]
    return made.poked("draws", at, 0.0).poked("target_probs", node, 0.0)


def _one_a_node(case: Case, pick: Pick) -> Case:
    """An engine's order: one uniform a node, filled before anything is decided."""
    node, made = pick(_first_children(case)), sampled(case, "rejection")
    draws = np.full(len(case.row["valid"]), 0.75)
    draws[case.accepted] = 0.25
    draws[node] = 0.99
    sampling = SamplingSettings(temperature=1.0, acceptance="rejection", draw_order="node")
    return made.edited(draws=draws).in_run(request_sampling={"": sampling})


MUTATIONS: Final[Changes] = {
    "SAMP005 accepted-against-its-draw": _accepted_by(0.95, "eagle"),
    "SAMP005 accepted-against-p-over-q": _accepted_by(0.99, "rejection"),
    "SAMP005 accepted-at-probability-zero": _zero_accepted,
    "SAMP005 accepted-against-the-draw-of-its-node": _one_a_node,
}
