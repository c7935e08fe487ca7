"""Judges a draft on a static tree: its topology bit by bit, the rank of each node's token within rounding."""

from __future__ import annotations

import numpy as np

from workbench.judge.allowance import row_allowances
from workbench.judge.draft_nodes import MAX_NAMED, DraftNodes
from workbench.judge.evidence import NodeTruth
from workbench.judge.exact import judge_list
from workbench.judge.notes import Notes, first_few


def judge_static(notes: Notes, nodes: DraftNodes, truth: NodeTruth) -> bool:
    """Judge parents and ranks, where the reference states them; return whether the tree is right."""
    if truth.parents is not None:
        came, law = nodes.parents, "the static tree's, the same at every step"
        judge_list(
            notes,
            "JUDGE-DRAFT-TOPOLOGY",
            "parents",
            came,
            truth.parents,
            path="fused",
            message=law,
            node_at=lambda place: place,
        )
        notes.check("static_parents")
        if not np.array_equal(came, truth.parents):
            return False
    if truth.ranks is not None and len(truth.ranks) == len(nodes.token_ids):
        _judge_ranks(notes, nodes, truth, truth.ranks.tolist())
    return True


def _judge_ranks(notes: Notes, nodes: DraftNodes, truth: NodeTruth, ranks: list[int]) -> None:
    """Hold each token's true score to that of its rank; both may be off by what rounding allows."""
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
