"""Judges the probabilities that a drafter says it has drawn its tokens with."""

from __future__ import annotations

from typing import Final

import numpy as np

from tracing.stages import FloatArray
from workbench.judge.allowance import row_allowances
from workbench.judge.draft_nodes import DraftNodes, has_samples
from workbench.judge.evidence import LevelTruth
from workbench.judge.notes import Notes

BORDER: Final = 2.0**-10
"""Rows whose samples move this much of their mass have a token at the border of top-k or top-p."""


def judge_draft_probs(notes: Notes, nodes: DraftNodes, probs: FloatArray | None, law: LevelTruth) -> None:
    """Judge that each node's probability is that of its law, a row a node, within the law's own rounding."""
    if probs is None:
        notes.lacks("draft_probs")
        return
    if not has_samples(notes, "draft_probs", law):
        return
    allowances = row_allowances(law.truth, law.samples, notes.dtype).largest
    notes.check("draft_probs")
    for node in range(1, len(nodes.token_ids)):
        row, draft_id = node - 1, int(nodes.draft_ids[node])
        if draft_id < 0 or row >= len(law.truth):
            continue
        came, expected = float(probs[node]), float(law.truth[row, draft_id])
        supports = {int(np.count_nonzero(each[row])) for each in (law.truth, *law.samples)}
        allowance = float(allowances[row]) + BORDER * expected
        if abs(came - expected) <= allowance or len(supports) > 1:
            continue
        message = f"node {node} was drawn with probability {expected:.6g}, the drafter says {came:.6g}"
        notes.finding(
            "JUDGE-DRAFT-LAW",
            "draft_probs",
            message,
            node=node,
            fused=came,
            reference=expected,
            allowance=allowance,
            gap=abs(came - expected),
        )
        return
