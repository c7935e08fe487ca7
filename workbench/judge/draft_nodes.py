"""Judges a draft that shows no search: the score of each node, and the token that each draw gave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from tracing.stages import IntArray
from workbench.judge.allowance import FLOOR_ULPS, row_allowances, ulp_of
from workbench.judge.blame import guilty
from workbench.judge.evidence import Array, LevelTruth, NodeTruth
from workbench.judge.notes import Notes, first_few
from workbench.judge.rows import why_not

MAX_NAMED: Final = 8
"""Wrong nodes or candidates named one by one; the last one counts the rest."""


@dataclass(frozen=True, slots=True)
class DraftNodes:
    """A drafted tree, parents before children.

    Attributes:
        token_ids, parents: `[n]`.
        draft_ids: The nodes' tokens as numbers of the draft vocabulary, `[n]`; -1 for one outside it.
        target_from_draft: Target token id of each draft token id, `[Vd]`.
    """

    token_ids: IntArray
    parents: IntArray
    draft_ids: IntArray
    target_from_draft: IntArray

    @classmethod
    def of(cls, token_ids: Array, parents: Array, target_from_draft: IntArray) -> DraftNodes:
        """Look the tokens up in the draft vocabulary."""
        draft_from_target = {int(target): draft for draft, target in enumerate(target_from_draft)}
        draft_ids = [draft_from_target.get(int(token), -1) for token in token_ids]
        return cls(
            np.asarray(token_ids), np.asarray(parents), np.array(draft_ids, dtype=np.int64), target_from_draft
        )

    def cumulative(self, rows: Array, row_of: IntArray) -> Array:
        """Return the sum of log-probabilities to each node, float64 `[n]`; -inf where there is no row."""
        scores = np.zeros(len(self.token_ids), dtype=np.float64)
        for node, parent in enumerate(self.parents.tolist()[1:], start=1):
            known = 0 <= parent < node and row_of[node] >= 0 and self.draft_ids[node] >= 0
            own = rows[row_of[node], self.draft_ids[node]] if known else -np.inf
            scores[node] = own + (scores[parent] if known else 0.0)
        return scores


def has_samples(notes: Notes, quantity: str, *rows: LevelTruth) -> bool:
    """Return whether all rows have a sample and a truth above the path's dtype; record why not."""
    reasons = [why_not(each.samples, each.truth, notes.dtype) for each in rows if each.typical is None]
    if any(reasons):
        notes.skip(quantity, next(filter(None, reasons)))
    return not any(reasons)


def judge_node_scores(notes: Notes, nodes: DraftNodes, scores: Array, truth: NodeTruth) -> None:
    """Judge the cumulative score of every node; a descendant of a wrong one is not reported again.

    Args:
        notes: Where to record.
        nodes: The tree; only nodes whose parent comes before them are judged.
        scores: The path's own cumulative log-probabilities, `[n]` or more.
        truth: The reference's rows.
    """
    rows, row_of = truth.rows, truth.row_of
    allowances = row_allowances(rows.truth, rows.samples, notes.dtype).largest
    sound: dict[int, tuple[float, float]] = {0: (0.0, 0.0)}
    wrong: list[tuple[int, float, float, str]] = []
    for node in range(1, len(nodes.token_ids)):
        parent, row, draft_id = int(nodes.parents[node]), int(row_of[node]), int(nodes.draft_ids[node])
        if draft_id < 0:
            token = int(nodes.token_ids[node])
            message = f"node {node} has token {token}, which the draft vocabulary does not have"
            notes.finding("JUDGE-DRAFT-VOCAB", "token_ids", message, node=node, fused=token)
        elif parent in sound and row >= 0:
            base, base_allowance = sound[parent]
            term = float(rows.truth[row, draft_id])
            score = base + term
            allowance = base_allowance + float(allowances[row]) + sum_rounding(score, term, notes.dtype)
            # NaN fails; where the reference itself overflows there is no allowance, and nothing is judged.
            if abs(float(scores[node]) - score) <= allowance or not np.isfinite(allowance):
                sound[node] = score, allowance
            else:
                third = rows.arbiter.get(row)
                expected = None if third is None else np.array([base + float(third[draft_id])])
                who = guilty(np.array([scores[node]]), np.array([score]), expected, allowance)
                wrong.append((node, score, allowance, who))
    notes.check("draft_logprobs")
    allowed = np.array([allowance for _, allowance in list(sound.values())[1:]])
    notes.allow("draft_logprobs", allowed, np.ones_like(allowed))
    for (node, score, allowance, who), tail in first_few(wrong, MAX_NAMED, "nodes"):
        what = f"node {node} (token {nodes.token_ids[node]}) scores"
        write_score(notes, what, (float(scores[node]), score, allowance), who=who, node=node, tail=tail)


def write_score(
    notes: Notes, what: str, values: tuple[float, float, float], *, who: str, node: int | None, tail: str
) -> None:
    """Write down a wrong score; `values` are the path's, the true one and its allowance."""
    ours, truth, allowance = values
    gap = abs(ours - truth)
    notes.finding(
        "JUDGE-DRAFT-SCORES",
        "draft_logprobs",
        f"{what} {ours:.6g}, expected {truth:.6g}: off by {gap:.3g} where rounding allows {allowance:.3g} "
        f"({gap / allowance:.3g} times){tail}",
        guilty=who,
        node=node,
        fused=ours,
        reference=truth,
        allowance=allowance,
        gap=gap,
    )


def sum_rounding(score: float, term: float, dtype: str) -> float:
    """Return what one more sum may round: a path of a half precision may sum in it.

    Args:
        score: The sum.
        term: The log-probability that was added.
        dtype: Of the path under test.
    """
    rounded = FLOOR_ULPS["float32"] * ulp_of(abs(score), "float32")
    return rounded + (term_rounding(score, dtype) + term_rounding(term, dtype)) / 2


def term_rounding(term: float, dtype: str) -> float:
    """Return one unit in the last place of a log-probability that is kept in a half precision, else 0.

    Allowances of rows do not hold it: the reference's log-probabilities stay in float32.
    """
    return 0.0 if dtype == "float32" else ulp_of(abs(term), dtype)


def judge_drawn(notes: Notes, nodes: DraftNodes, draws: Array | None, truth: NodeTruth) -> None:
    """Judge that each node's token is the one that its law and its draw give, token ids ascending.

    A token next to the right one is a near tie where the law's own rounding moves the border past the draw.
    """
    law = truth.law
    if law is None or draws is None:
        notes.lacks("drawn_tokens", "the draws of this draft are not known")
        return
    if not has_samples(notes, "drawn_tokens", law):
        return
    order = np.argsort(nodes.target_from_draft)
    exact, *samples = (np.cumsum(rows[:, order], axis=1) for rows in (law.truth, *law.samples))
    allowances = row_allowances(exact, tuple(samples), notes.dtype).largest
    place_of = np.argsort(order)
    notes.check("drawn_tokens")
    for node, draw in zip(range(1, len(nodes.token_ids)), np.asarray(draws).tolist(), strict=True):
        row, draft_id = int(truth.row_of[node]), int(nodes.draft_ids[node])
        if draft_id < 0:
            continue  # has its own finding
        expected = _drawn(exact[row], draw)
        if expected == place_of[draft_id]:
            continue
        ours, theirs = int(nodes.token_ids[node]), int(nodes.target_from_draft[order[expected]])
        gap, allowance = _outside(exact[row], int(place_of[draft_id]), draw), float(allowances[row])
        if gap <= allowance and any(rows[row, draft_id] > 0 for rows in (law.truth, *law.samples)):
            notes.near_tie("draw", node=node, fused=ours, reference=theirs, gap=gap, allowance=allowance)
            continue
        message = f"node {node} is token {ours}, its law and its draw {draw:.9g} give {theirs}: the draw is "
        notes.finding(
            "JUDGE-DRAFT-DRAWN",
            "token_ids",
            message + f"{gap:.3g} outside the token's share, where rounding allows {allowance:.3g}",
            node=node,
            fused=ours,
            reference=theirs,
            allowance=allowance,
            gap=gap,
        )


def _drawn(cumulative: Array, draw: float) -> int:
    """Return the place that a draw falls into, at most the last one with a share of its own."""
    last = int(np.searchsorted(cumulative, cumulative[-1], side="left"))
    return min(int(np.searchsorted(cumulative, draw, side="right")), last)


def _outside(cumulative: Array, place: int, draw: float) -> float:
    """Return how far a draw is outside the share of a place."""
    low = float(cumulative[place - 1]) if place else 0.0
    return max(low - draw, draw - float(cumulative[place]), 0.0)
