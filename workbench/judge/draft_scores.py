"""Candidate scores against the reference, and near ties of candidates, beams and nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracing.errors import UsageError
from tracing.stages import BeamSearch, IntArray
from workbench.judge.allowance import norms_of, row_allowances
from workbench.judge.blame import guilty
from workbench.judge.draft_laws import ROOT, Candidates, best, level_range, node_of, swapped
from workbench.judge.draft_nodes import MAX_NAMED, sum_rounding, term_rounding, write_score
from workbench.judge.evidence import LevelTruth
from workbench.judge.notes import Notes, first_few
from workbench.judge.typical import allowances_beside, from_truth


@dataclass(slots=True)
class Scores:
    """Candidate scores of one draft and what judging them needs; arrays are `[C]`, filled level by level.

    Attributes:
        notes: Where to record.
        drafted: The fused draft.
        candidates: Its candidates.
        draft_from_target: Target token id to draft token id.
        target_from_draft: The inverse, `[Vd]`.
        truth: True cumulative log-probability by flat number; NaN where unknown.
        allowance: What the score may be off by, added up along the path.
        sound: Judged and within its allowance, as is every ancestor.
    """

    notes: Notes
    drafted: BeamSearch
    candidates: Candidates
    draft_from_target: Mapping[int, int]
    target_from_draft: IntArray
    truth: NDArray[np.float64] = field(init=False)
    allowance: NDArray[np.float64] = field(init=False)
    sound: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing known."""
        size = len(self.candidates.scores)
        self.truth, self.allowance = np.full(size, np.nan), np.full(size, np.nan)
        self.sound = np.zeros(size, dtype=np.bool_)


def level_allowances(levels: tuple[LevelTruth, ...], dtype: str) -> list[NDArray[np.float64]]:
    """Return the allowance of each beam's row, one `[B]` per level; rows of all levels are pooled."""
    num_samples = min(len(level.samples) for level in levels)
    truth = np.concatenate([level.truth for level in levels])
    samples = tuple(
        np.concatenate([level.samples[number] for level in levels]) for number in range(num_samples)
    )
    typical = levels[0].typical
    if typical is None:
        pooled = row_allowances(truth, samples, dtype).largest
    else:
        pooled = allowances_beside(norms_of(truth), typical, dtype).largest
    return np.split(pooled, np.cumsum([level.truth.shape[0] for level in levels])[:-1])


def judge_scores(scores: Scores, levels: tuple[LevelTruth, ...]) -> None:
    """Judge every candidate's cumulative score; a child of a wrong candidate is not reported again.

    Raises:
        UsageError: A level's rows do not match its beams or the draft vocabulary.
    """
    wrong: list[tuple[int, str]] = []
    for number, (level, allowances) in enumerate(
        zip(levels, level_allowances(levels, scores.notes.dtype), strict=True)
    ):
        flats = np.array(level_range(number, scores.candidates.width)).reshape(-1, scores.candidates.width)
        expected = (flats.shape[0], len(scores.target_from_draft))
        if level.truth.shape != expected:
            raise UsageError(
                f"truth of level {number} should have shape {list(expected)}, got {list(level.truth.shape)}"
            )
        for beam in range(flats.shape[0]):
            wrong += _judge_beam(scores, level, (flats[beam], beam, float(allowances[beam])))
            _judge_best_tokens(scores, level, (flats[beam], beam, float(allowances[beam])))
    scores.notes.check("draft_logprobs")
    more = 1.0 if not levels or levels[0].typical is None else from_truth(scores.notes.dtype)
    scores.notes.allow("draft_logprobs", scores.allowance * more, np.abs(scores.truth))
    _write_wrong(scores, wrong)


def _judge_beam(
    scores: Scores, level: LevelTruth, beam_row: tuple[IntArray, int, float]
) -> list[tuple[int, str]]:
    """Fill in the true scores of one beam's candidates; return the wrong ones with the guilty path."""
    flats, beam, allowance = beam_row
    parent = int(scores.candidates.parents[flats[0]])
    base, base_allowance = (0.0, 0.0) if parent == ROOT else (scores.truth[parent], scores.allowance[parent])
    parent_sound = parent == ROOT or bool(scores.sound[parent])
    wrong = []
    for flat in flats.tolist():
        draft_id = scores.draft_from_target.get(int(scores.candidates.token_ids[flat]))
        if draft_id is None:
            continue  # has its own finding
        term = float(level.truth[beam, draft_id])
        truth = base + term
        rounding = sum_rounding(truth, term, scores.notes.dtype)
        scores.truth[flat], scores.allowance[flat] = truth, base_allowance + allowance + rounding
        error = abs(float(scores.candidates.scores[flat]) - truth)
        inside = error <= scores.allowance[flat]
        scores.sound[flat] = parent_sound and inside
        if parent_sound and not inside and np.isfinite(scores.allowance[flat]):
            row = level.arbiter.get(beam)
            third = None if row is None else np.array([base + float(row[draft_id])])
            ours, law = scores.candidates.scores[flat : flat + 1], scores.truth[flat : flat + 1]
            wrong.append((flat, guilty(ours, law, third, float(scores.allowance[flat]))))
    return wrong


def _write_wrong(scores: Scores, wrong: list[tuple[int, str]]) -> None:
    node_from_flat = {int(flat): place + 1 for place, flat in enumerate(scores.drafted.flat_ids)}
    wrong = sorted(wrong, key=lambda each: (each[0] not in node_from_flat, each[0]))  # nodes first
    for (flat, who), tail in first_few(wrong, MAX_NAMED, f"of {len(scores.truth)} candidates"):
        ours, truth = float(scores.candidates.scores[flat]), float(scores.truth[flat])
        allowance = float(scores.allowance[flat])
        what = f"candidate {flat} (token {scores.candidates.token_ids[flat]}) scores"
        values, node = (ours, truth, allowance), node_from_flat.get(flat)
        write_score(scores.notes, what, values, who=who, node=node, tail=tail)


def _judge_best_tokens(scores: Scores, level: LevelTruth, row: tuple[IntArray, int, float]) -> None:
    """Judge that one beam's K candidates are its K best tokens, near ties counted.

    Both tokens come from one row, so a swapped pair may be apart by twice that row's own allowance.
    """
    flats, beam, allowance = row
    truth, third = level.truth[beam], level.arbiter.get(beam)
    if not scores.sound[flats].all():
        return  # scores of this beam are wrong already (or its ancestors'), or are not tokens to look up
    listed = {scores.draft_from_target[int(scores.candidates.token_ids[flat])]: int(flat) for flat in flats}
    expected = best(np.asarray(truth, dtype=np.float64), np.arange(truth.size), len(flats))
    for left_out, came_in in zip(*swapped(expected, np.array(list(listed)), truth), strict=False):
        gap = float(truth[left_out] - truth[came_in])
        ours, theirs = int(scores.target_from_draft[came_in]), int(scores.target_from_draft[left_out])
        allowed = 2 * allowance + term_rounding(float(truth[came_in]), scores.notes.dtype)
        if gap <= allowed:
            scores.notes.near_tie(
                "candidate", node=None, fused=ours, reference=theirs, gap=gap, allowance=allowed
            )
            continue
        scores.notes.finding(
            "JUDGE-DRAFT-CANDIDATES",
            "token_ids",
            f"candidate {listed[came_in]} is token {ours}, but {theirs} is left out and better by {gap:.3g}, "
            f"where rounding allows {allowed:.3g}",
            guilty=_who_left_out(third, left_out, came_in, allowed),
            node=node_of(scores.drafted, int(flats[expected.tolist().index(left_out)])),
            fused=ours,
            reference=theirs,
            allowance=allowed,
            gap=gap,
        )


def _who_left_out(third: NDArray[Any] | None, left_out: int, came_in: int, allowance: float) -> str:
    """Return who is wrong about two tokens of one row, by the arbiter's row `[Vd]`."""
    if third is None:
        return "unknown"
    gap = float(third[left_out] - third[came_in])
    if gap > allowance:
        return "fused"
    return "reference" if gap <= 0 else "unknown"  # in between the arbiter cannot decide


def count_near_ties(scores: Scores) -> None:
    """Count swapped beams and nodes: the path followed its own sound scores, the true ones differ."""
    if not scores.notes.has("JUDGE-DRAFT-BEAMS"):
        for number, level in enumerate(scores.drafted.levels[1:], start=1):
            before = np.array(level_range(number - 1, scores.candidates.width))
            _count_swaps(scores, "beam", before, np.asarray(level.beam_flat_ids))
    if not scores.notes.has("JUDGE-DRAFT-SELECTED", "JUDGE-DRAFT-ASCENDING", "JUDGE-SHAPE"):
        everyone = np.arange(len(scores.truth))
        _count_swaps(scores, "node", everyone, np.asarray(scores.drafted.flat_ids))


def _count_swaps(scores: Scores, kind: str, pool: IntArray, chosen: IntArray) -> None:
    """Pair what the true scores would choose from `pool` with what was chosen instead."""
    if not scores.sound[pool].all():
        return  # scores of this pool are wrong or unknown; a bigger bug is never a near tie
    expected = best(scores.truth[pool], pool, len(chosen))
    for left_out, came_in in zip(*swapped(expected, chosen, scores.truth), strict=True):
        gap = float(scores.truth[left_out] - scores.truth[came_in])
        allowance = float(scores.allowance[left_out] + scores.allowance[came_in])
        scores.notes.near_tie(
            kind, node=None, fused=came_in, reference=left_out, gap=gap, allowance=allowance
        )
