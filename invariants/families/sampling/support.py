"""What the recorded logits say of a sampled step: support, probabilities and the drawn token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from invariants.families.sampling.decisions import tried_children
from invariants.laws import (
    ROUNDING,
    KnownLaw,
    RowSampling,
    chosen_by,
    known_law,
    require_sampled,
    rounding_of,
)
from invariants.mutation import Case, Changes, NoPlaceError, Pick
from invariants.prefilter import Flags, prefilter
from invariants.rule import (
    BoolArray,
    FloatArray,
    IntArray,
    NotApplicableError,
    Violation,
    Violations,
    invariant,
)
from tracing.run_facts import SamplingSettings

SETTINGS: Final = (
    "row_temperature",
    "row_top_k",
    "row_top_p",
    "request_sampling",
    "request_id",
    "logits_kind",
)
UNKNOWN: Final = "more tokens may come than logits are recorded; top-k below their number shows the whole law"
DRAWN_FROM_ALL: Final = ("match", "rejection", "specinfer", "rsd", "block")
"""Rules whose final token at a leaf is drawn from the whole law; `match` draws every token from it."""


def _laws(
    ids: IntArray, logits: FloatArray, nodes: list[int], acceptance: str, given: Mapping[str, Any]
) -> tuple[RowSampling, dict[int, KnownLaw]]:
    """Return the known laws of some nodes.

    Raises:
        NotApplicableError: None is known.
    """
    chosen = chosen_by(
        given.get("request_sampling"),
        given.get("request_id"),
        acceptance,
        **{name: given.get(name) for name in ("row_temperature", "row_top_k", "row_top_p")},
    )
    require_sampled(chosen)
    if given.get("logits_kind") == "processed":
        raise NotApplicableError("the recorded logits are no longer the teacher's")
    made = {node: known_law(ids[node], logits[node], chosen) for node in nodes if 0 <= node < len(ids)}
    known = {node: law for node, law in made.items() if law is not None}
    if not known:
        raise NotApplicableError(UNKNOWN)
    return chosen, known


@invariant("SAMP007", stage="accept", requires=("ACC001", "ACC005"), optional=SETTINGS)
def token_outside_the_support(
    *,
    emitted_token_ids: IntArray,
    accepted_nodes: IntArray,
    target_top_ids: IntArray,
    target_top_logits: FloatArray,
    acceptance: str = "greedy",
    **given: Any,
) -> Violations:
    """An emitted token has probability 0 after temperature, top-k and top-p.

    ## What it does
    Where the recorded logits show the whole law of a node of the path, checks that the token emitted after it
    has a share.

    ## Why it matters
    A sampler that skips top-k or top-p on one of its ways (the bonus token, the recovered one, accepted
    drafts) emits what the user has excluded.

    ## Example
    Top-k is 2, the best tokens are 5 and 7, and 9 is emitted.

    ## Seen in
    sgl-project/sglang#35771 (a draft of probability 0 is accepted), bonus tokens drawn from unwarped logits.

    ## Limits
    Needs top-k below the number of recorded logits. A token at the border of top-p is left alone.
    """
    path = [0, *accepted_nodes.tolist()]
    _, laws = _laws(target_top_ids, target_top_logits, path, acceptance, given)
    for node, token in zip(path, emitted_token_ids.tolist(), strict=False):
        law = laws.get(node)
        if law is None or law.of(token) > 0 or (law.is_at_border and token in law.ids):
            continue
        message = f"token {token} was emitted after node {node}, where its probability is 0"
        yield Violation(message, "emitted_token_ids", node, found=token)
        return


@invariant("SAMP008", stage="accept", requires=("TREE002", "ROW001"), optional=SETTINGS)
def probability_is_not_the_law(
    *,
    target_probs: FloatArray,
    parents: IntArray,
    token_ids: IntArray,
    valid: BoolArray,
    target_top_ids: IntArray,
    target_top_logits: FloatArray,
    acceptance: str = "greedy",
    **given: Any,
) -> Violations:
    """The probability that a draft was judged by is not that of the teacher's logits.

    ## What it does
    Where the recorded logits show the whole law of a parent, compares `target_probs` of its children with it.

    ## Why it matters
    A softmax in half precision, a row of another node, or settings of another request give probabilities that
    are nearly right, and a law that is not the teacher's.

    ## Example
    The law says 0.2500 and `target_probs` is 0.2510: eight bits.

    ## Seen in
    DeepSpec#31 (drafted in bfloat16, verified in float32).

    ## Limits
    Needs top-k below the number of recorded logits; relative differences below 2^-12 are rounding.
    """
    nodes = sorted({int(parents[node]) for node in range(1, len(parents)) if valid[node]})
    chosen, laws = _laws(target_top_ids, target_top_logits, nodes, acceptance, given)
    for node in range(1, len(parents)):
        law = laws.get(int(parents[node])) if valid[node] else None
        if law is None or law.is_at_border:
            continue
        came, expected = float(target_probs[node]), law.of(int(token_ids[node]))
        allowed = max(rounding_of(target_top_logits[parents[node]], chosen.temperature) * expected, 2.0**-40)
        if not abs(came - expected) <= allowed:
            message = f"node {node} has probability {came:.6g}, the logits before it say {expected:.6g}"
            yield Violation(message, "target_probs", node, found=came, expected=expected)
            return


@invariant("SAMP009", stage="accept", requires=("ACC001", "SAMP001"), optional=SETTINGS)
def token_not_of_its_draw(
    *,
    draws: FloatArray,
    accepted_nodes: IntArray,
    parents: IntArray,
    token_ids: IntArray,
    valid: BoolArray,
    final_token_id: int,
    target_top_ids: IntArray,
    target_top_logits: FloatArray,
    stop_reason: str | None = None,
    acceptance: str = "greedy",
    **given: Any,
) -> Violations:
    """The final token is not the one that its draw gives: bonus from the whole law, else from what is left.

    ## What it does
    Where the recorded logits show the whole law of the last accepted node, finds the token of the step's last
    draw in the cumulative law, ids ascending. After rejections of `eagle` the rejected tokens are left out.

    ## Why it matters
    A bonus drawn from the residual of an earlier place, or a recovered token from the whole law, is one wrong
    token a step.

    ## Example
    All drafts are accepted, the law is a half for 5 and 7 each, the draw is 0.7, and the bonus is 5.

    ## Seen in
    SafeAILab/EAGLE pull request 47 (bonus from an earlier residual).

    ## Limits
    Needs top-k below the number of recorded logits. After rejections of rules with p / q the residual is not
    in the trace. Draws within rounding of a border are left alone.
    """
    if stop_reason is not None:
        raise NotApplicableError(f"the step was cut ({stop_reason})")
    accepted = accepted_nodes.tolist()
    last = accepted[-1] if accepted else 0
    chosen, laws = _laws(target_top_ids, target_top_logits, [last], acceptance, given)
    if chosen.settings is not None and chosen.settings.draw_order == "node":
        raise NotApplicableError("the draw of the final token is not among those of nodes")
    tried = list(tried_children(parents, token_ids, valid, accepted, distinct=True))[-1][1]
    if chosen.acceptance not in ("eagle", *DRAWN_FROM_ALL) or not len(draws):
        raise NotApplicableError(f"the final token of {chosen.acceptance} is not known to be drawn")
    law = laws[last]
    if chosen.acceptance != "match" and tried:
        if chosen.acceptance != "eagle":
            raise NotApplicableError("what the rejections left is not in the trace")
        law = law.without([int(token_ids[child]) for child in tried])
    total = float(law.probabilities.sum())
    if total < ROUNDING or law.is_at_border:
        raise NotApplicableError("what is left of the law has too few digits")
    above = np.cumsum(law.probabilities) / total
    at = np.flatnonzero(law.ids == final_token_id)
    draw = float(draws[-1])
    low, high = (above[at[0] - 1] if at[0] else 0.0, above[at[0]]) if len(at) else (2.0, 2.0)
    if low - ROUNDING / total <= draw <= high + ROUNDING / total and high > low:
        return
    expected = int(law.ids[min(int(np.searchsorted(above, draw, side="right")), len(above) - 1)])
    message = f"the final token is {final_token_id}; the draw {draw:.9g} gives {expected} after node {last}"
    yield Violation(message, "final_token_id", last, found=int(final_token_id), expected=expected)


@prefilter("SAMP008")
def _with_probabilities(target_probs: Any) -> Flags:  # noqa: ARG001  each is looked at
    return True


def sampled(case: Case, acceptance: str = "match") -> Case:
    """Return a case that is sampled from the best two logits of each row, with what the rule then records."""
    row = case.uncut.row
    stated = SamplingSettings(temperature=2.0, top_k=2, acceptance=acceptance)  # type: ignore[arg-type]  # a rule's name
    made = case.in_run(acceptance=acceptance, request_sampling={"": stated})
    chosen = RowSampling(None, acceptance, 2.0, 2, 1.0)
    laws = [
        known_law(*pair, chosen) for pair in zip(row["target_top_ids"], row["target_top_logits"], strict=True)
    ]
    if any(law is None for law in laws):
        raise NoPlaceError("rows without a law of two tokens")
    probs = np.zeros(len(row["valid"]), dtype=np.float32)
    for node in case.drafts:
        law = laws[row["parents"][node]]
        assert law is not None
        probs[node] = law.of(int(row["token_ids"][node]))
    probs[0] = 1.0
    last = laws[case.accepted[-1] if case.accepted else 0]
    assert last is not None
    above = np.cumsum(last.probabilities)
    at = int(np.flatnonzero(last.ids == row["final_token_id"])[0])
    draw = (above[at - 1] if at else 0.0) / 2 + above[at] / 2
    return made.edited(target_probs=probs, draws=np.array([0.5, draw]))


def _outside(case: Case, _: Pick) -> Case:
    token = case.other_token(case.row["final_token_id"])
    made = sampled(case).poked("emitted_token_ids", -1, token).edited(final_token_id=token)
    return made.edited(draws=None)


def _in_half_precision(case: Case, pick: Pick) -> Case:
    made = sampled(case).edited(draws=None)
    node = pick([node for node in case.drafts if made.row["target_probs"][node] > 0])
    return made.poked("target_probs", node, made.row["target_probs"][node] * np.float32(1 + 2.0**-9))


def _other_end_of_the_law(case: Case, _: Pick) -> Case:
    made = sampled(case)
    draw = float(made.row["draws"][-1])
    last = case.accepted[-1] if case.accepted else 0
    first = int(np.sort(made.row["target_top_ids"][last][:2])[0]) == case.row["final_token_id"]
    return made.poked("draws", 1, 1 - 2.0**-20 if first else draw * 0.0)


MUTATIONS: Final[Changes] = {
    "SAMP007 token-outside-top-k": _outside,
    "SAMP008 probability-in-half-precision": _in_half_precision,
    "SAMP009 token-of-another-draw": _other_end_of_the_law,
}
