"""Beam search, shared by drafters that score candidates: beams first, then the best of all candidates.

This is the official EAGLE-3 search with its rules stated:

* Scores are float32. A candidate's score is its beam's score plus its own log-probability.
* Ties go to the lower flat number (in a row: to the lower draft token id). So a child that costs nothing
  still comes after its parent, and no node is ever selected without its parent.
* NaN ranks below everything, equal to minus infinity: it is never preferred, but it fills a tree that has
  nothing better, so that a broken drafter shows up in the tree's scores and not as a crash.
* Fewer candidates than nodes give a smaller tree.
* Ours: no further level where the best beam is less likely than `stop_below`.

A drafter gives a `Search` for each rung: the first rows and `expand`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from reference.model import ReferenceModels
from tracing.draws import Draws
from tracing.errors import UsageError
from tracing.settings import DecodeSettings
from tracing.stages import Drafted, DraftLevel, FloatArray, IntArray, NullWatch, StageWatch


@dataclass(frozen=True, slots=True)
class DraftAttention:
    """What the drafter's attention was given, as `StageWatch.saw_draft_attention` takes it."""

    query: Tensor
    key: Tensor
    query_positions: Tensor
    key_positions: Tensor
    visible: Tensor


class Rows(Protocol):
    """The drafter's rows of one level: one per live beam (level 0: the last committed row)."""

    @property
    def logprobs(self) -> Tensor:
        """Log-probabilities over the draft vocabulary, `[B, Vd]`."""
        ...

    @property
    def committed_kv(self) -> Tensor:
        """Drafter keys and values of the committed rows, `[1, 2, kv_heads, L, D]`."""
        ...

    @property
    def seen(self) -> DraftAttention | None:
        """What the attention was given, or None where there is no one call for the level."""
        ...


@dataclass(frozen=True, slots=True)
class DraftContext:
    """The values that a draft starts from.

    Attributes:
        token_ids: Committed tokens, L of them.
        root: Token at position L.
        features: Tapped teacher features of the committed tokens, `[L, F]`.
        past_kv: The drafter's own rows of the first S < L tokens, `[layers, 2, kv_heads, S, D]`; None
            without a cache.
        draws: Source of uniforms for a drafter that samples; None in greedy decoding.
    """

    token_ids: Sequence[int]
    root: int
    features: Tensor
    past_kv: Tensor | None = None
    draws: Draws | None = None


AnyRows = TypeVar("AnyRows", bound=Rows)
Expand = Callable[[AnyRows, IntArray, IntArray], AnyRows]
"""`(rows, parent_beams[B], token_ids[B])` returns the rows of the next level; each beam extends the given
beam of the given rows by the given target token."""


@dataclass(frozen=True, slots=True)
class Search(Generic[AnyRows]):
    """A drafter that scores candidates, on one rung.

    Attributes:
        begin: `(models, context, settings)` returns the row that proposes below the root.
        expand: The rows of the next level.
        begin_at: `(models, context, lengths, settings)` returns the rows that propose below the roots of
            several steps of one context, each after its own length of it; None where it cannot.
    """

    begin: Callable[[ReferenceModels, DraftContext, DecodeSettings], AnyRows]
    expand: Expand[AnyRows]
    begin_at: Callable[[ReferenceModels, DraftContext, Sequence[int], DecodeSettings], AnyRows] | None = None


@dataclass(frozen=True, slots=True)
class ReplayedLevel:
    """One level of a given search, by the reference's arithmetic.

    Attributes:
        beam_logprob: Cumulative log-probability of each beam, `[B]`; minus infinity where a token of the
            beam is outside the draft vocabulary.
        row_logprobs: Log-probabilities after each beam over the draft vocabulary, `[B, Vd]`.
    """

    beam_logprob: Tensor
    row_logprobs: Tensor


@dataclass(frozen=True, slots=True)
class DraftTruth:
    """A given search by the reference's arithmetic, level by level.

    Attributes:
        levels: As many as the search had.
        committed_kv: Drafter keys and values of the committed rows, `[1, 2, kv_heads, L, D]`.
    """

    levels: tuple[ReplayedLevel, ...]
    committed_kv: Tensor


def first_flat_id(level: int, top_k: int) -> int:
    """Return the flat number of the first candidate of `level`."""
    return 0 if level == 0 else top_k + (level - 1) * top_k * top_k


def best(scores: NDArray[Any], count: int) -> IntArray:
    """Return the places of the `count` highest scores, best first; ties to the lower place, NaN last."""
    rankable = np.where(np.isnan(scores), -np.inf, scores)
    return np.argsort(-rankable, kind="stable")[:count].astype(np.int64)


def grow(
    rows: AnyRows,
    expand: Expand[AnyRows],
    *,
    target_from_draft: Tensor,
    root: int,
    settings: DecodeSettings,
    watch: StageWatch | None = None,
) -> Drafted:
    """Search freely from the first rows and return the selected tree.

    Raises:
        UsageError: `top_k` exceeds the draft vocabulary.
    """
    target_ids = target_from_draft.cpu().numpy()
    if settings.top_k > len(target_ids):
        raise UsageError(
            f"top_k should be at most the draft vocabulary {len(target_ids)}, got {settings.top_k}"
        )
    watch = watch or NullWatch()
    no_beams = np.zeros(0, dtype=np.int64)
    _report(watch, no_beams, rows)
    levels = [_score(rows, np.zeros(1, dtype=np.float32), no_beams, target_ids, settings.top_k)]
    for level in range(1, settings.depth + 1):
        scores, token_ids = levels[-1].scores.ravel(), levels[-1].token_ids.ravel()
        kept = best(scores, settings.top_k)
        if float(scores[kept[0]]) < settings.stop_score:
            break
        flat_ids = kept + first_flat_id(level - 1, settings.top_k)
        rows = expand(rows, kept // settings.top_k, token_ids[kept])
        _report(watch, flat_ids, rows)
        levels.append(_score(rows, scores[kept], flat_ids, target_ids, settings.top_k))
    return select(root, tuple(levels), settings.tree_nodes)


def _report(watch: StageWatch, flat_ids: IntArray, rows: Rows) -> None:
    if rows.seen is not None:
        watch.saw_draft_attention(
            flat_ids=flat_ids,
            query=rows.seen.query,
            key=rows.seen.key,
            query_positions=rows.seen.query_positions,
            key_positions=rows.seen.key_positions,
            visible=rows.seen.visible,
        )


def _score(
    rows: Rows, beam_scores: FloatArray, flat_ids: IntArray, target_ids: IntArray, top_k: int
) -> DraftLevel:
    """Take the best `top_k` of every row and add up."""
    row_logprobs = rows.logprobs.float().cpu().numpy()
    best_draft_ids = np.stack([best(row, top_k) for row in row_logprobs])
    logprobs = np.take_along_axis(row_logprobs, best_draft_ids, axis=1)
    return DraftLevel(
        beam_flat_ids=flat_ids,
        token_ids=target_ids[best_draft_ids],
        scores=(beam_scores[:, None] + logprobs).astype(np.float32),
    )


def select(root: int, levels: Sequence[DraftLevel], tree_nodes: int) -> Drafted:
    """Keep the best `tree_nodes - 1` of all candidates, in ascending flat order, under the root."""
    scores = np.concatenate([level.scores.ravel() for level in levels])
    token_ids = np.concatenate([level.token_ids.ravel() for level in levels])
    parent_flat_ids = [parent for level in levels for parent in _parent_flat_ids(level)]
    level_of = [number for number, level in enumerate(levels) for _ in range(level.scores.size)]
    flat_ids = np.sort(best(scores, tree_nodes - 1))
    node_from_flat = {-1: 0} | {int(flat): node for node, flat in enumerate(flat_ids, start=1)}
    return Drafted(
        token_ids=np.array([root, *token_ids[flat_ids]], dtype=np.int64),
        parents=np.array([0, *(node_from_flat[parent_flat_ids[flat]] for flat in flat_ids)], dtype=np.int64),
        depths=np.array([0, *(level_of[flat] + 1 for flat in flat_ids)], dtype=np.int64),
        logprobs=np.array([0.0, *scores[flat_ids]], dtype=np.float32),
        flat_ids=flat_ids,
        levels=tuple(levels),
    )


def _parent_flat_ids(level: DraftLevel) -> list[int]:
    """Return, per candidate of a level, the flat number of the beam that it extends; -1 under the root."""
    beams = [int(flat) for flat in level.beam_flat_ids] or [-1]
    return [beam for beam in beams for _ in range(level.scores.shape[1])]


def follow(
    rows: AnyRows,
    expand: Expand[AnyRows],
    *,
    target_from_draft: Tensor,
    levels: Sequence[DraftLevel],
    watch: StageWatch | None = None,
) -> DraftTruth:
    """Walk the levels of a given search and score each of its beams.

    Args:
        rows: The first rows.
        expand: Of the rung.
        target_from_draft: int64 `[Vd]`.
        levels: Beams and candidate tokens of that search; its scores are not read.
        watch: Called at each level's attention.

    Raises:
        UsageError: A beam that is no candidate of the level before.
    """
    watch = watch or NullWatch()
    _report(watch, np.zeros(0, dtype=np.int64), rows)
    draft_from_target = {int(target): draft for draft, target in enumerate(target_from_draft.tolist())}
    truths = [ReplayedLevel(rows.logprobs.new_zeros(1), rows.logprobs)]
    for level in range(1, len(levels)):
        parents, token_ids = _beams(levels, level)
        beam_logprobs = [
            truths[-1].beam_logprob[parent]
            + _logprob(rows.logprobs[parent], draft_from_target.get(int(token)))
            for parent, token in zip(parents, token_ids, strict=True)
        ]
        rows = expand(rows, parents, token_ids)
        _report(watch, np.asarray(levels[level].beam_flat_ids, dtype=np.int64), rows)
        truths.append(ReplayedLevel(rows.logprobs.new_tensor(beam_logprobs), rows.logprobs))
    return DraftTruth(tuple(truths), rows.committed_kv)


def _beams(levels: Sequence[DraftLevel], level: int) -> tuple[IntArray, IntArray]:
    """Return which beam of the level before each beam extends, and by which token."""
    before = levels[level - 1].token_ids
    top_k = before.shape[1]
    places = np.asarray(levels[level].beam_flat_ids, dtype=np.int64) - first_flat_id(level - 1, top_k)
    if len(places) == 0 or places.min() < 0 or places.max() >= before.size:
        raise UsageError(
            f"beams of draft level {level} should be among the {before.size} candidates from flat number "
            f"{first_flat_id(level - 1, top_k)} on, got {levels[level].beam_flat_ids}"
        )
    return places // top_k, before.ravel()[places]


def _logprob(row: Tensor, draft_id: int | None) -> float:
    return float("-inf") if draft_id is None else float(row[draft_id])
