"""Judges what a sampler reports beside its decisions: its settings, probabilities and recovered token."""

from __future__ import annotations

from typing import Final

import numpy as np

from workbench.judge.evidence import AcceptEvidence
from workbench.judge.notes import Notes

PROBABILITY_ROUNDING: Final = 2.0**-14
"""Relative rounding of a probability computed in float32 of logits over temperature up to 1,000, with sums
over a whole vocabulary; a softmax in bfloat16 is off by 2^-9, in float16 by 2^-12."""
SMALLEST: Final = 2.0**-24
"""Below this a probability in float32 has no digits that could be compared."""


def judge_sampler(notes: Notes, evidence: AcceptEvidence) -> None:
    """Judge each value that the path under test gives against the reference's, by the path's own logits."""
    ours, theirs = evidence.fused, evidence.reference
    if evidence.is_greedy or ours is None or theirs is None:
        return
    for column in ("row_temperature", "row_top_k", "row_top_p"):
        came, law = getattr(ours, column), getattr(theirs, column)
        if came is None or law is None:
            continue
        notes.check(column)
        if np.float32(came) != np.float32(law):
            message = f"the sampler was given {column} {came:g}, the settings say {law:g}"
            notes.finding("JUDGE-ACCEPT-SAMPLER", column, message, fused=came, reference=law)
    if ours.target_probs is not None and theirs.target_probs is not None:
        _judge_probs(notes, evidence, ours.target_probs, theirs.target_probs)
    same_path = np.array_equal(ours.accepted_nodes, theirs.accepted_nodes)
    if ours.recovered_token_id is not None and same_path and not evidence.draw_ties:
        notes.check("recovered_token_id")
        if ours.recovered_token_id != theirs.recovered_token_id:
            message = f"token {ours.recovered_token_id} is recorded as recovered, the draws recover "
            message += "none" if theirs.recovered_token_id is None else str(theirs.recovered_token_id)
            notes.finding(
                "JUDGE-ACCEPT-RECOVERED",
                "recovered_token_id",
                message,
                fused=ours.recovered_token_id,
                reference=theirs.recovered_token_id,
            )


def _judge_probs(notes: Notes, evidence: AcceptEvidence, ours: np.ndarray, theirs: np.ndarray) -> None:
    """Judge the law of each drafted token: the warped softmax of the logits before it."""
    notes.check("target_probs")
    for node in np.flatnonzero(evidence.tree.valid).tolist():
        came, law = float(ours[node]), float(theirs[node])
        allowance = PROBABILITY_ROUNDING * max(law, SMALLEST)
        if abs(came - law) <= allowance:
            continue
        message = f"node {node} has probability {came:.6g}, the law of its parent's logits says {law:.6g}"
        notes.finding(
            "JUDGE-ACCEPT-PROBS",
            "target_probs",
            message,
            node=node,
            fused=came,
            reference=law,
            allowance=allowance,
            gap=abs(came - law),
        )
        return
