"""Candidate scores against the reference, and near ties of candidates, beams and nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracing.errors import UsageError
from tracing.settings import DecodeSettings
from tracing.stages import BeamSearch, IntArray
from workbench.judge.allowance import row_allowances
from workbench.judge.blame import guilty
from workbench.judge.draft_laws import ROOT, Candidates, best
from workbench.judge.draft_nodes import MAX_NAMED, sum_rounding, write_score
from workbench.judge.evidence import LevelTruth
from workbench.judge.notes import Notes


@dataclass(slots=True)
class Scored:
    """True cumulative scores by flat number; arrays are `[C]`, filled level by level.

    Attributes:
        truth: True cumulative log-probability; NaN where unknown.
        allowance: What the score may be off by, added up along the path.
        sound: Judged and within its allowance, as is every ancestor.
    """

    truth: NDArray[np.float64]
    allowance: NDArray[np.float64]
    sound: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ScoreJudge:
    """What judging the scores of one draft needs.

    Attributes:
        notes: Where to record.
        drafted: The fused draft.
        candidates: Its candidates.
        draft_from_target: Target token id to draft token id.
        target_from_draft: The inverse, `[Vd]`.
        settings: tree_nodes and top_k.
    """

    notes: Notes
    drafted: BeamSearch
    candidates: Candidates
    draft_from_target: Mapping[int, int]
    target_from_draft: IntArray
    settings: DecodeSettings


def level_allowances(levels: tuple[LevelTruth, ...], dtype: str) -> list[NDArray[np.float64]]:
    """Return the allowance of each beam's row, one `[B]` per level; rows of all levels are pooled."""
    num_samples = min(len(level.samples) for level in levels)
    truth = np.concatenate([level.truth for level in levels])
    samples = tuple(
        np.concatenate([level.samples[number] for level in levels]) for number in range(num_samples)
    )
    pooled = row_allowances(truth, samples, dtype).largest
    return np.split(pooled, np.cumsum([level.truth.shape[0] for level in levels])[:-1])


def judge_scores(judge: ScoreJudge, levels: tuple[LevelTruth, ...], dtype: str) -> Scored:
    """Judge every candidate's cumulative score; a child of a wrong candidate is not reported again.

    Raises:
        UsageError: A level's rows do not match its beams or the draft vocabulary.
    """
    size = len(judge.candidates.scores)
    scored = Scored(np.full(size, np.nan), np.full(size, np.nan), np.zeros(size, dtype=np.bool_))
    wrong: list[tuple[int, str]] = []
    for number, (level, allowances) in enumerate(zip(levels, level_allowances(levels, dtype), strict=True)):
        flats = np.array(judge.candidates.level_range(number)).reshape(-1, judge.candidates.width)
        expected = (flats.shape[0], len(judge.target_from_draft))
        if level.truth.shape != expected:
            raise UsageError(
                f"truth of level {number} should have shape {list(expected)}, got {list(level.truth.shape)}"
            )
        for beam in range(flats.shape[0]):
            wrong += _judge_beam(judge, scored, level, (flats[beam], beam, float(allowances[beam])))
            _judge_best_tokens(judge, scored, level, (flats[beam], beam, float(allowances[beam])))
    judge.notes.check("draft_logprobs")
    _write_wrong(judge, scored, wrong)
    return scored


def _judge_beam(
    judge: ScoreJudge, scored: Scored, level: LevelTruth, row: tuple[IntArray, int, float]
) -> list[tuple[int, str]]:
    """Fill in the true scores of one beam's candidates; return the wrong ones with the guilty path."""
    flats, beam, allowance = row
    parent = int(judge.candidates.parents[flats[0]])
    base, base_allowance = (0.0, 0.0) if parent == ROOT else (scored.truth[parent], scored.allowance[parent])
    parent_sound = parent == ROOT or bool(scored.sound[parent])
    wrong = []
    for flat in flats.tolist():
        draft_id = judge.draft_from_target.get(int(judge.candidates.token_ids[flat]))
        if draft_id is None:
            continue  # has its own finding
        truth = base + float(level.truth[beam, draft_id])
        scored.truth[flat], scored.allowance[flat] = truth, base_allowance + allowance + sum_rounding(truth)
        error = abs(float(judge.candidates.scores[flat]) - truth)
        inside = error <= scored.allowance[flat]
        scored.sound[flat] = parent_sound and inside
        if parent_sound and not inside and np.isfinite(scored.allowance[flat]):
            third = level.arbiter.get(beam)
            wrong.append(
                (flat, _guilty(judge, scored, flat, base, None if third is None else third[draft_id]))
            )
    return wrong


def _guilty(judge: ScoreJudge, scored: Scored, flat: int, base: float, third: float | None) -> str:
    """Return who agrees with the drafter's replay about one candidate."""
    return guilty(
        np.array([judge.candidates.scores[flat]]),
        np.array([scored.truth[flat]]),
        None if third is None else np.array([base + float(third)]),
        float(scored.allowance[flat]),
    )


def _write_wrong(judge: ScoreJudge, scored: Scored, wrong: list[tuple[int, str]]) -> None:
    """Write down the wrong scores."""
    node_from_flat = {int(flat): place + 1 for place, flat in enumerate(judge.drafted.flat_ids)}
    for count, (flat, who) in enumerate(wrong[:MAX_NAMED]):
        ours, truth = float(judge.candidates.scores[flat]), float(scored.truth[flat])
        allowance = float(scored.allowance[flat])
        more = len(wrong) - MAX_NAMED if count == MAX_NAMED - 1 else 0
        tail = f"; and {more} more of {len(scored.truth)} candidates" if more > 0 else ""
        what = f"candidate {flat} (token {judge.candidates.token_ids[flat]}) scores"
        write_score(
            judge.notes, what, (ours, truth, allowance), who=who, node=node_from_flat.get(flat), tail=tail
        )


def _judge_best_tokens(
    judge: ScoreJudge, scored: Scored, level: LevelTruth, row: tuple[IntArray, int, float]
) -> None:
    """Judge that one beam's K candidates are its K best tokens, near ties counted.

    Both tokens come from one row, so a swapped pair may be apart by twice that row's own allowance.
    """
    flats, beam, allowance = row
    truth, third = level.truth[beam], level.arbiter.get(beam)
    if not scored.sound[flats].all():
        return  # scores of this beam are wrong already (or its ancestors'), or are not tokens to look up
    listed = {judge.draft_from_target[int(judge.candidates.token_ids[flat])]: int(flat) for flat in flats}
    expected = best(np.asarray(truth, dtype=np.float64), np.arange(truth.size), len(flats))
    omitted = [int(token) for token in expected if int(token) not in listed]
    intruders = sorted(set(listed) - set(expected.tolist()), key=lambda token: truth[token])
    for left_out, came_in in zip(omitted, intruders, strict=False):
        gap = float(truth[left_out] - truth[came_in])
        ours, theirs = int(judge.target_from_draft[came_in]), int(judge.target_from_draft[left_out])
        if gap <= 2 * allowance:
            judge.notes.near_tie(
                "candidate", node=None, fused=ours, reference=theirs, gap=gap, allowance=2 * allowance
            )
            continue
        judge.notes.finding(
            "JUDGE-DRAFT-CANDIDATES",
            "token_ids",
            f"candidate {listed[came_in]} is token {ours}, but {theirs} is left out and better by {gap:.3g}, "
            f"where rounding allows {2 * allowance:.3g}",
            guilty=_who_left_out(third, left_out, came_in, 2 * allowance),
            fused=ours,
            reference=theirs,
            allowance=2 * allowance,
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


def count_near_ties(judge: ScoreJudge, scored: Scored) -> None:
    """Count swapped beams and nodes: the path followed its own sound scores, the true ones differ."""
    if not judge.notes.has("JUDGE-DRAFT-BEAMS"):
        for number, level in enumerate(judge.drafted.levels[1:], start=1):
            before = np.array(judge.candidates.level_range(number - 1))
            _count_swaps(judge, scored, "beam", before, np.asarray(level.beam_flat_ids))
    if not judge.notes.has("JUDGE-DRAFT-SELECTED", "JUDGE-DRAFT-ASCENDING", "JUDGE-SHAPE"):
        everyone = np.arange(len(scored.truth))
        _count_swaps(judge, scored, "node", everyone, np.asarray(judge.drafted.flat_ids))


def _count_swaps(judge: ScoreJudge, scored: Scored, kind: str, pool: IntArray, chosen: IntArray) -> None:
    """Pair what the true scores would choose from `pool` with what was chosen instead."""
    if not scored.sound[pool].all():
        return  # scores of this pool are wrong or unknown; a bigger bug is never a near tie
    expected = best(scored.truth[pool], pool, len(chosen))
    omitted = [int(flat) for flat in expected if flat not in chosen]
    intruders = sorted(set(chosen.tolist()) - set(expected.tolist()), key=lambda flat: scored.truth[flat])
    for left_out, came_in in zip(omitted, intruders, strict=True):
        gap = float(scored.truth[left_out] - scored.truth[came_in])
        allowance = float(scored.allowance[left_out] + scored.allowance[came_in])
        judge.notes.near_tie(kind, node=None, fused=came_in, reference=left_out, gap=gap, allowance=allowance)
