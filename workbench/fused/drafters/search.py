"""Beam search of drafters that score candidates: shared by all that expand beams level by level.

The tree follows the official EAGLE-3 algorithm: `top_k` candidates per beam, the best `top_k` of a level by
cumulative log-probability become beams, `depth` expansions, then the best of all candidates in flat order.
Ours is that the search may end before: at a level whose best beam is less likely than `stop_below`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tracing.errors import UsageError
from tracing.settings import DecodeSettings
from tracing.stages import BoolArray, Drafted, DraftLevel, FloatArray, IntArray

NO_BEAMS: IntArray = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Beams:
    """The live beams of one level.

    Attributes:
        token_ids: int64 `[B]`.
        scores: Cumulative log-probabilities, float32 `[B]`.
        flat_ids: Flat candidate numbers, int64 `[B]`.
        hidden: What the row that proposed each beam passes to it, `[B, H]`; H may be 0.
        tree_visible: Drafted rows that each beam sees, bool `[B, drafted rows]`, its own not yet among them.
        expansion: Levels of drafted rows above them; 0 for the children of the root.
    """

    token_ids: Tensor
    scores: Tensor
    flat_ids: Tensor
    hidden: Tensor
    tree_visible: Tensor
    expansion: int = 0


class SearchRows(Protocol):
    """The drafter's rows of one level, one per beam; one row for the root."""

    @property
    def hidden(self) -> Tensor:
        """What each row passes to the beams below it, `[B, H]`."""
        ...

    @property
    def logits(self) -> Tensor:
        """Over the draft vocabulary, `[B, Vd]`."""
        ...


Expand = Callable[[Beams], tuple[SearchRows, Tensor]]
"""Returns the beams' rows and the drafted rows that each sees, its own included."""


def require_width(settings: DecodeSettings, draft_vocab_size: int) -> None:
    """Refuse more candidates per beam than there are tokens.

    Raises:
        UsageError: `top_k` exceeds the draft vocabulary.
    """
    if settings.top_k > draft_vocab_size:
        raise UsageError(
            f"top_k should be at most the draft vocabulary {draft_vocab_size}, got {settings.top_k}"
        )


def grow(
    root_row: SearchRows, expand: Expand, target_from_draft: Tensor, settings: DecodeSettings
) -> tuple[DraftLevel, ...]:
    """Return all scored candidates, level by level.

    Args:
        root_row: The one row that proposes below the root.
        expand: Runs the rows of a level.
        target_from_draft: int64 `[Vd]` on the device.
        settings: `top_k`, `depth` and `stop_below`.
    """
    top_k, device = settings.top_k, target_from_draft.device
    scores, token_ids = _candidates(target_from_draft, root_row.logits, top_k)
    levels = [_level(NO_BEAMS, token_ids, scores)]
    beams = Beams(
        token_ids=token_ids[0],
        scores=scores[0],
        flat_ids=torch.arange(top_k, device=device),
        hidden=root_row.hidden.expand(top_k, -1).contiguous(),
        tree_visible=torch.zeros((top_k, 0), dtype=torch.bool, device=device),
    )
    for expansion in range(settings.depth):
        if ended(beams.scores, settings):
            break
        rows, visible = expand(beams)
        log_probs, token_ids = _candidates(target_from_draft, rows.logits, top_k)
        scores = log_probs + beams.scores[:, None]
        levels.append(_level(beams.flat_ids.cpu().numpy(), token_ids, scores))
        if expansion + 1 < settings.depth:
            best_scores, best_of_level = stable_top_k(scores.view(1, -1), top_k)
            best = best_of_level[0]
            parent_beam = best // top_k
            beams = Beams(
                token_ids=token_ids.view(-1).index_select(0, best),
                scores=best_scores[0],
                flat_ids=best + (top_k + expansion * top_k * top_k),
                hidden=rows.hidden.index_select(0, parent_beam),
                tree_visible=visible.index_select(0, parent_beam),
                expansion=expansion + 1,
            )
    return tuple(levels)


def ended(scores: Tensor, settings: DecodeSettings) -> bool:
    """Return whether a search ends before it expands beams with these scores, best first."""
    return bool(settings.stop_below) and float(scores[0]) < settings.stop_score


def _candidates(target_from_draft: Tensor, logits: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Return log-probabilities float32 `[B, K]` and target token ids `[B, K]`, best first."""
    scores, draft_ids = stable_top_k(logits.float().log_softmax(dim=-1), top_k)
    return scores, target_from_draft.index_select(0, draft_ids.flatten()).view_as(draft_ids)


def _level(beam_flat_ids: IntArray, token_ids: Tensor, scores: Tensor) -> DraftLevel:
    return DraftLevel(
        beam_flat_ids=beam_flat_ids, token_ids=token_ids.cpu().numpy(), scores=scores.cpu().numpy()
    )


def select(levels: tuple[DraftLevel, ...], root_token_id: int, tree_nodes: int, *, proposer: str) -> Drafted:
    """Keep the best `tree_nodes - 1` candidates in flat order and number them behind the root."""
    scores = np.concatenate([level.scores.ravel() for level in levels])
    token_ids = np.concatenate([level.token_ids.ravel() for level in levels])
    flat_ids = best_in_order(scores, tree_nodes - 1)
    below_root, parent_flat_ids, depths = _ancestry(levels)
    parents = np.where(
        below_root[flat_ids], 0, np.searchsorted(flat_ids, parent_flat_ids[flat_ids], side="left") + 1
    )
    return Drafted(
        token_ids=np.concatenate([[root_token_id], token_ids[flat_ids]]),
        parents=np.concatenate([[0], parents]),
        depths=np.concatenate([[0], depths[flat_ids]]),
        logprobs=np.concatenate([np.zeros(1, np.float32), scores[flat_ids]]),
        flat_ids=flat_ids,
        levels=levels,
        proposer=proposer,
    )


def _ancestry(levels: tuple[DraftLevel, ...]) -> tuple[BoolArray, IntArray, IntArray]:
    """Return, for every candidate: is its parent the root, else the parent's flat number; and its depth."""
    sizes = [level.token_ids.size for level in levels]
    beams = np.concatenate([np.zeros(1, np.int64), *(level.beam_flat_ids for level in levels[1:])])
    parent_flat_ids = np.repeat(beams, sizes[0])
    below_root = np.arange(parent_flat_ids.size) < sizes[0]
    return below_root, parent_flat_ids, np.repeat(np.arange(1, len(levels) + 1), sizes)


def stable_top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k best of each row, `([R, k] values, [R, k] indices)`, equal values by ascending index.

    Without a tie among the best k + 1 there is one answer, and `topk` finds it; else it is sorted out.

    Args:
        scores: `[R, W]` with k <= W; NaN ranks last.
        k: How many.
    """
    values, indices = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    if not bool((values[:, 1:] < values[:, :-1]).all()):  # a tie, or a NaN, which `topk` takes for the best
        indices = _ranked(torch.where(scores.isnan(), -torch.inf, scores), k)
        return scores.gather(1, indices), indices
    return values[:, :k], indices[:, :k]


def _ranked(scores: Tensor, k: int) -> Tensor:
    """Return the indices of the k best of each row, `[R, k]`; sorts what reaches the k-th score, not all."""
    last = scores.topk(k, dim=1).values[:, -1:]
    num_reaching = int((scores >= last).sum(dim=1).max())
    reaching = scores.topk(num_reaching, dim=1).indices.sort(dim=1).values
    order = scores.gather(1, reaching).sort(dim=1, descending=True, stable=True).indices[:, :k]
    return reaching.gather(1, order)


def best_in_order(scores: FloatArray, num_kept: int) -> IntArray:
    """Return the indices of the `num_kept` best scores, ascending; ties go to the lower index, NaN is last.

    A child never scores above its parent and has the higher flat number, so a kept child's parent is kept.
    """
    ranked = np.where(np.isnan(scores), -np.inf, scores)
    return np.sort(np.argsort(-ranked, kind="stable")[:num_kept])
