"""Candidate scores of a draft that one standard mistake would give, from rows of log-probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from tracing.stages import DraftLevel, IntArray
from workbench.judge.allowance import Floats
from workbench.judge.draft_nodes import sum_rounding
from workbench.judge.draft_scores import level_allowances
from workbench.judge.evidence import Array, LevelTruth
from workbench.judge.explain import FITTED, NARROW, Hypothesis, Wrong, rounded_to

SLOPES: Final = (0.05, 20.0)
"""Temperatures between which one is looked for."""
MIN_WIDTH: Final = 3
"""Candidates per beam from which on a constant offset says something."""
SAME: Final = 1e-3
"""An offset below this is none."""
SHARE: Final = 0.02
"""A share of a score as near to a whole number is that number."""


@dataclass(frozen=True, slots=True)
class ScoredSearch:
    """The path's search, and the true rows along it.

    Attributes:
        levels: Beams, candidates and scores of the path.
        rows: True log-probabilities, `[B, Vd]` a level.
        draft_ids: Target token id to the draft token id, in a list.
    """

    levels: tuple[DraftLevel, ...]
    rows: tuple[Array, ...]
    draft_ids: Mapping[int, Sequence[int]]

    def own(
        self, rows: Sequence[Array], draft_ids: Mapping[int, Sequence[int]] | None = None
    ) -> list[Floats]:
        """Return what each candidate adds to its beam's score, `[B, K]` a level; NaN without a draft id.

        Of several draft ids that a token may be, the one counts that comes closest.
        """
        known = self.draft_ids if draft_ids is None else draft_ids
        return [
            _closest(np.asarray(row, dtype=np.float64), _ids_of(level.token_ids, known), added)
            for level, row, added in zip(self.levels, rows, self.added(), strict=True)
        ]

    def added(self) -> list[Floats]:
        """Return what the path's own candidates add to its own beams' scores, `[B, K]` a level."""
        scores = [np.asarray(level.scores, dtype=np.float64) for level in self.levels]
        return [each - before[:, None] for each, before in zip(scores, self.before(scores), strict=True)]

    def before(self, scores: Sequence[Floats]) -> list[Floats]:
        """Return the score of each beam, `[B]` a level."""
        found: list[Floats] = [np.zeros(1)]
        width = self.levels[0].scores.shape[-1]
        for number, level in enumerate(self.levels[1:]):
            first = 0 if number == 0 else width + (number - 1) * width**2
            found.append(scores[number].ravel()[np.asarray(level.beam_flat_ids, dtype=np.int64) - first])
        return found

    def summed(
        self, own: Sequence[Floats], base: Callable[[Floats], Floats] = lambda scores: scores
    ) -> Floats:
        """Return cumulative scores of all candidates, `[C, 1]`; `base` changes what the beams hand on."""
        scores: list[Floats] = []
        for number, (level, added) in enumerate(zip(self.levels, own, strict=True)):
            before = np.zeros(1)
            if number:
                width = self.levels[0].scores.shape[-1]
                first = 0 if number == 1 else width + (number - 2) * width**2
                places = np.asarray(level.beam_flat_ids, dtype=np.int64) - first
                before = base(scores[-1].ravel()[places])
            scores.append(before[:, None] + added)
        return np.concatenate([each.ravel() for each in scores])[:, None]

    def wrong(self, truth: Sequence[LevelTruth], dtype: str) -> Wrong:
        """Return the path's scores beside the true ones, with their allowances."""
        value = np.concatenate([np.asarray(each.scores, np.float64).ravel() for each in self.levels])[:, None]
        rows = [
            np.repeat(each[:, None], level.scores.shape[-1], axis=1)
            for each, level in zip(level_allowances(tuple(truth), dtype), self.levels, strict=True)
        ]
        right = self.summed(self.own(self.rows))
        rounding = np.array(
            [sum_rounding(float(score), float(score), dtype) for score in np.nan_to_num(value[:, 0])]
        )
        allowed = self.summed(rows)[:, 0] + rounding * len(self.levels)
        return Wrong(value, right, allowed, allowed)


def _ids_of(token_ids: IntArray, known: Mapping[int, Sequence[int]]) -> IntArray:
    """Return the draft ids that each token `[B, K]` may be, `[B, K, M]`, -1 behind the last one."""
    lists = [known.get(token, ()) for token in token_ids.ravel().tolist()]
    made = np.full((len(lists), max(1, *map(len, lists))), -1, dtype=np.int64)
    for place, ids in enumerate(lists):
        made[place, : len(ids)] = ids
    return made.reshape(*token_ids.shape, -1)


def _closest(rows: Floats, ids: IntArray, added: Floats) -> Floats:
    """Return the values of rows `[B, Vd]` at ids `[B, K, M]` that come closest to `added` `[B, K]`."""
    may_be = (ids >= 0) & (ids < rows.shape[1])
    values = np.take_along_axis(rows[:, None], np.where(may_be, ids, 0), axis=2)
    with np.errstate(invalid="ignore"):
        distance = np.where(may_be, np.abs(values - added[..., None]), np.inf)
    nearest = distance.argmin(axis=-1)[..., None]
    first = may_be.argmax(axis=-1)[..., None]
    nearest = np.where(np.take_along_axis(may_be, nearest, axis=-1), nearest, first)
    return np.where(may_be.any(axis=-1), np.take_along_axis(values, nearest, axis=-1)[..., 0], np.nan)


def score_hypotheses(
    search: ScoredSearch,
    levels: Iterator[tuple[str, tuple[Array, ...]]],
    maps: Iterator[tuple[str, dict[int, list[int]]]],
) -> Iterator[Hypothesis]:
    """Yield what standard mistakes predict for the scores of all candidates, `[C, 1]`.

    Args:
        search: The path's search and its true rows.
        levels: Clauses and other rows along the same search.
        maps: Clauses and other readings of the candidates' tokens.
    """
    own = search.own(search.rows)
    yield Hypothesis("the sum without the beam's own score", search.summed(own, lambda scores: scores * 0))
    yield Hypothesis(
        "the sum with the beam's own score counted twice", search.summed(own, lambda scores: scores * 2)
    )
    yield Hypothesis(
        "the sum with the score of the beam before", search.summed(own, lambda scores: np.roll(scores, 1))
    )
    yield Hypothesis(
        "the sum with the score of the beam behind", search.summed(own, lambda scores: np.roll(scores, -1))
    )
    yield from _shared(search, own)
    yield from _warmer(search, own)
    yield from _of_rows(search)
    yield from _not_normalised(search, own)
    for clause, draft_ids in maps:
        yield Hypothesis(clause, search.summed(search.own(search.rows, draft_ids)))
    for clause, rows in levels:
        if all(each.shape == row.shape for each, row in zip(rows, search.rows, strict=True)):
            yield Hypothesis(clause, search.summed(search.own(rows)))


def _shared(search: ScoredSearch, own: Sequence[Floats]) -> Iterator[Hypothesis]:
    """The sum with a share of the beam's own score: the share is told by all levels below the first."""
    scores = [np.asarray(level.scores, dtype=np.float64) for level in search.levels]
    pairs = zip(search.before(scores)[1:], scores[1:], own[1:], strict=True)
    both = [(np.broadcast_to(base[:, None], mine.shape), mine - added) for base, mine, added in pairs]
    base, more = (np.concatenate([each[side].ravel() for each in both] or [np.zeros(0)]) for side in (0, 1))
    known = np.isfinite(base) & np.isfinite(more)
    size = float((base[known] ** 2).sum())
    share = float((base[known] * more[known]).sum()) / size if size > 0 else 1.0
    if abs(share - round(share)) > SHARE:  # whole ones have clauses of their own
        clause = f"the sum with {share:.3g} times the beam's own score"
        yield Hypothesis(clause, search.summed(own, lambda scores: scores * share))


def _of_rows(search: ScoredSearch) -> Iterator[Hypothesis]:
    """Rows that are normalised over too few tokens, or kept in a half precision."""
    width, rows = search.levels[0].scores.shape[-1], [np.asarray(row, np.float64) for row in search.rows]
    best = [np.sort(row, axis=1)[:, -width:] for row in rows]
    among = [
        row - np.log(np.exp(top).sum(axis=1, keepdims=True)) for row, top in zip(rows, best, strict=True)
    ]
    clause = f"the score normalised over the {width} best tokens alone"
    yield Hypothesis(clause, search.summed(search.own(among)))
    for name, dropped in NARROW:
        rounded = [rounded_to(row, dropped) for row in rows]
        clause = f"the sum of log-probabilities rounded to {name}"
        yield Hypothesis(clause, search.summed(search.own(rounded)))


def _warmer(search: ScoredSearch, own: Sequence[Floats]) -> Iterator[Hypothesis]:
    """The law of another temperature, told by how the root's first candidates differ; or no law at all."""
    mine, true = np.asarray(search.levels[0].scores[0], np.float64), own[0][0]
    spread = true[0] - true[-1]
    if not np.isfinite(spread) or spread == 0:
        return
    slope = (mine[0] - mine[-1]) / spread
    if SLOPES[0] < slope < SLOPES[1]:
        rows = [log_softmax(np.asarray(row, np.float64) * slope) for row in search.rows]
        yield Hypothesis(f"the score at temperature {1 / slope:.3g}", search.summed(search.own(rows)))


def _not_normalised(search: ScoredSearch, own: Sequence[Floats]) -> Iterator[Hypothesis]:
    """Rows that differ from the truth by a constant each, that of the root's included: logits."""
    offsets = [
        (mine - true).mean(axis=1, keepdims=True) for mine, true in zip(search.added(), own, strict=True)
    ]
    if own[0].shape[-1] >= MIN_WIDTH and abs(float(offsets[0][0, 0])) > SAME:
        shifted = [true + offset for true, offset in zip(own, offsets, strict=True)]
        clause = "the logit itself: the row is not normalised"
        yield Hypothesis(clause, search.summed(shifted), clearly=FITTED)


def log_softmax(rows: Floats) -> Floats:
    """Return log-probabilities along the last axis."""
    top = rows.max(axis=-1, keepdims=True)
    result: Floats = rows - top - np.log(np.exp(rows - top).sum(axis=-1, keepdims=True))
    return result
