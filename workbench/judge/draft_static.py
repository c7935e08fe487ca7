"""Judges a draft on a static tree: its topology bit by bit, the rank of each node's token within rounding."""

from __future__ import annotations

import numpy as np

from workbench.judge.allowance import row_allowances
from workbench.judge.draft_nodes import MAX_NAMED, DraftNodes
from workbench.judge.evidence import NodeTruth
from workbench.judge.exact import judge_list
from workbench.judge.notes import Notes, first_few


def judge_topology(notes: Notes, nodes: DraftNodes, truth: NodeTruth) -> bool:
    """Judge the parents of a static tree, where the reference states them; return whether they are right."""
    if truth.parents is None:
        return True
    judge_list(
        notes,
        "JUDGE-DRAFT-TOPOLOGY",
        "parents",
        nodes.parents,
        truth.parents,
        path="fused",
        message="the static tree's, the same at every step",
        node_at=lambda place: place,
    )
    notes.check("static_parents")
    return np.array_equal(nodes.parents, truth.parents)


def judge_ranks(notes: Notes, nodes: DraftNodes, truth: NodeTruth) -> None:
    """Hold each token's true score to that of its rank; both may be off by what rounding allows."""
    if truth.ranks is None or len(truth.ranks) != len(nodes.token_ids):
        return
    ranks = truth.ranks.tolist()
    rows = truth.rows
    allowances = row_allowances(rows.truth, rows.samples, notes.dtype).largest
    best_first = -np.sort(-rows.truth, axis=1)
    wrong: list[tuple[int, float, float]] = []
    for node in range(1, len(nodes.token_ids)):
        row, draft_id = int(truth.row_of[node]), int(nodes.draft_ids[node])
        if row < 0 or draft_id < 0:
            continue  # has a finding of its own
        gap = abs(float(rows.truth[row, draft_id]) - float(best_first[row, ranks[node]]))
        allowance = 2 * float(allowances[row])
        if gap > allowance:
            wrong.append((node, gap, allowance))
    notes.check("static_ranks")
    for (node, gap, allowance), tail in first_few(wrong, MAX_NAMED, "nodes"):
        row, draft_id = int(truth.row_of[node]), int(nodes.draft_ids[node])
        rank = int((rows.truth[row] > rows.truth[row, draft_id]).sum())
        notes.finding(
            "JUDGE-DRAFT-RANK",
            "token_ids",
            f"node {node} has token {nodes.token_ids[node]}, of rank {rank} in row {row}; the static tree "
            f"asks for rank {ranks[node]}, {gap:.3g} apart where rounding allows {allowance:.3g}{tail}",
            node=node,
            fused=rank,
            reference=ranks[node],
            allowance=allowance,
            gap=gap,
        )
