"""Scores of the nodes of a draft that shows no search, as one standard mistake would give them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tracing.stages import IntArray
from workbench.judge.allowance import Floats, row_allowances
from workbench.judge.draft_nodes import DraftNodes, sum_rounding
from workbench.judge.evidence import Array, NodeTruth
from workbench.judge.explain import Hypothesis, Wrong
from workbench.judge.explain_scores import SLOPES, log_softmax

ORDERS = (("in reverse order", slice(None, None, -1)), ("one place on", 1), ("one place back", -1))
"""Other orders of the rows that nodes are proposed from: a slice of them, or how far they are moved."""


def node_scores(nodes: DraftNodes, scores: Array, truth: NodeTruth, dtype: str) -> Wrong:
    """Return the scores of all nodes but the root beside the true ones, `[n - 1, 1]`."""
    rows, row_of = truth.rows, truth.row_of
    value = np.asarray(scores, dtype=np.float64)[1 : len(nodes.token_ids)]
    right = nodes.cumulative(rows.truth, row_of)[1:]
    allowed = row_allowances(rows.truth, rows.samples, dtype).largest[row_of[1:]]
    rounding = np.array([sum_rounding(float(each), float(each), dtype) for each in np.nan_to_num(value)])
    depth = max(len(nodes.token_ids) - 1, 1)
    allowance = (allowed + rounding) * min(depth, int(row_of.max(initial=0)) + 1)
    return Wrong(value[:, None], right[:, None], allowance, allowance)


def node_hypotheses(nodes: DraftNodes, wrong: Wrong, truth: NodeTruth) -> Iterator[Hypothesis]:
    """Yield what standard mistakes predict, `[n - 1, 1]`."""
    rows = np.asarray(truth.rows.truth, dtype=np.float64)

    def summed(made: Floats) -> Floats:
        return nodes.cumulative(made, truth.row_of)[1:, None]

    alone = nodes_alone(nodes, rows, truth.row_of)
    yield Hypothesis("its own log-probability without its parent's score", alone[1:, None])
    for clause, order in ORDERS:
        moved = rows[order] if isinstance(order, slice) else np.roll(rows, order, axis=0)
        yield Hypothesis(f"the score by the rows {clause}", summed(moved))
    children = np.flatnonzero(nodes.parents[1:] == 0)
    mine, true = wrong.value[children, 0], wrong.truth[children, 0]
    spread = true[0] - true[-1] if children.size > 1 else 0.0
    if np.isfinite(spread) and spread != 0:
        slope = float((mine[0] - mine[-1]) / spread)
        if SLOPES[0] < slope < SLOPES[1]:
            clause = f"the score at temperature {1 / slope:.3g}"
            yield Hypothesis(clause, summed(log_softmax(rows * slope)))


def nodes_alone(nodes: DraftNodes, rows: Floats, row_of: IntArray) -> Floats:
    """Return each node's own log-probability, float64 `[n]`; 0 at the root."""
    cumulative = nodes.cumulative(rows, row_of)
    with np.errstate(invalid="ignore"):
        alone: Floats = cumulative - cumulative[nodes.parents]
    alone[0] = 0.0
    return alone
