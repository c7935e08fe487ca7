"""Two recorded paths' choices and logits, compared by what the trace has: the best few of each row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tracing.finding import Finding
from tracing.moment import Moment
from workbench.judge.evidence import VerifyEvidence
from workbench.judge.notes import NearTie
from workbench.judge.recorded.pairs import farthest, logit_pairs, recorded_logits
from workbench.judge.rules import finding_of

Row = Mapping[str, Any]
JUDGED_FINE = ("ok", "near_tie")


def explained(
    evidence: VerifyEvidence, row: Row, other: Row, moment: Moment, tie_gap: float | None
) -> tuple[VerifyEvidence, tuple[NearTie, ...]]:
    """Return the evidence without the different choices that are near ties, and those near ties.

    Args:
        evidence: As the rows give it.
        row: The tested path's step.
        other: The other path's step.
        moment: Which step.
        tie_gap: What a near tie may cost; None: what the recording's judge let pass.
    """
    reference = evidence.reference
    ours, theirs = row.get("target_token_ids"), other.get("target_token_ids")
    if reference is None or ours is None or theirs is None or np.shape(ours) != np.shape(theirs):
        return evidence, ()
    near_ties: list[NearTie] = []
    settled = np.array(theirs)
    for node in np.flatnonzero(evidence.valid & (np.asarray(ours) != theirs)).tolist():
        gap = _gap(other, node, int(theirs[node]), int(ours[node]))
        if tie_gap is None:
            passes = row.get("step_verdict") in JUDGED_FINE
        else:
            passes = gap is not None and gap <= tie_gap
        if passes:
            settled[node] = ours[node]
            where = replace(moment, stage="verify", node=node)
            allowance = float("nan") if tie_gap is None else tie_gap
            gap = float("nan") if gap is None else gap
            near_ties.append(NearTie(where, "choice", int(ours[node]), int(theirs[node]), gap, allowance))
    return replace(evidence, reference=replace(reference, target_token_ids=settled)), tuple(near_ties)


def _gap(row: Row, node: int, best: int, chosen: int) -> float | None:
    """Return by how much a row prefers one token to another, if both are among its recorded logits."""
    logits = recorded_logits(row, node)
    return logits[best] - logits[chosen] if best in logits and chosen in logits else None


def gaps_beyond(row: Row, other: Row, moment: Moment, logit_gap: float) -> Iterator[Finding]:
    """Yield a finding per node whose recorded logits of one token differ by more than asked."""
    for node, ours, theirs in logit_pairs(row, other):
        token = farthest(ours, theirs)
        if token is None or abs(ours[token] - theirs[token]) <= logit_gap:
            continue
        values = {"fused": ours[token], "reference": theirs[token], "allowance": logit_gap}
        gap = abs(ours[token] - theirs[token])
        message = f"the logit of token {token} after node {node} differs by {gap:.3g}, more than "
        message += f"the {logit_gap:.3g} asked for"
        where = moment.at("verify", node)
        yield finding_of("JUDGE-VERIFY-LOGITS", where, "target_top_logits", message, gap=gap, **values)
