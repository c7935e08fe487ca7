"""Judges a draft whose scores are not known: the tokens under each node are the best ones of its row."""

from __future__ import annotations

from typing import Final

import numpy as np

from workbench.judge.allowance import row_allowances
from workbench.judge.draft_nodes import DraftNodes
from workbench.judge.evidence import NodeTruth
from workbench.judge.notes import Notes, first_few

MAX_NAMED: Final = 4
"""Wrong nodes named one by one; the last one counts the rest."""


def judge_node_order(notes: Notes, nodes: DraftNodes, truth: NodeTruth, num_judged: int) -> None:
    """Judge that no token was left out that is better than a drafted one of the same row.

    A token as good within the rounding of both is a near tie. Each row follows from the recorded tokens
    before it, so a wrong node does not make its descendants wrong.

    Args:
        notes: Where to record.
        nodes: The tree.
        truth: The reference's rows; a row is of one parent.
        num_judged: Nodes from here on are not judged.
    """
    rows = truth.rows
    allowances = row_allowances(rows.truth, rows.samples, notes.dtype).largest
    wrong: list[tuple[int, int, float, float]] = []
    notes.check("drafted_tokens")
    for row in range(len(rows.truth)):
        children = [node for node in np.flatnonzero(truth.row_of == row).tolist() if 0 < node < num_judged]
        drafted = [int(nodes.draft_ids[node]) for node in children]
        values, allowance = np.asarray(rows.truth[row], dtype=np.float64), 2 * float(allowances[row])
        if not children or min(drafted) < 0 or not np.isfinite(allowance):
            continue
        others = values.copy()
        others[drafted] = -np.inf
        best = int(others.argmax())
        for node, draft_id in zip(children, drafted, strict=True):
            gap = float(others[best] - values[draft_id])
            if gap > allowance:
                wrong.append((node, best, gap, allowance))
            elif gap > 0:
                ours, theirs = int(nodes.token_ids[node]), int(nodes.target_from_draft[best])
                notes.near_tie(
                    "candidate", node=node, fused=ours, reference=theirs, gap=gap, allowance=allowance
                )
    for (node, best, gap, allowance), tail in first_few(wrong, MAX_NAMED, "nodes"):
        ours, theirs = int(nodes.token_ids[node]), int(nodes.target_from_draft[best])
        notes.finding(
            "JUDGE-DRAFT-CANDIDATES",
            "token_ids",
            f"node {node} is token {ours}, and {theirs} is left out and better by {gap:.3g} where rounding "
            f"allows {allowance:.3g}{tail}",
            node=node,
            fused=ours,
            reference=theirs,
            allowance=allowance,
            gap=gap,
        )
