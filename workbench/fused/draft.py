"""Draft: feed the drafter what was committed, then grow a tree under the root.

The tree follows the official EAGLE-3 algorithm: `top_k` candidates per beam, the best `top_k` of a level by
cumulative log-probability become beams, `depth` expansions, then the best of all candidates in flat order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tracing.errors import UsageError
from tracing.stages import BoolArray, Drafted, DraftLevel, IntArray
from workbench.fused.drafters.eagle3 import DraftRows
from workbench.fused.drafters.ranking import best_in_order, stable_top_k
from workbench.fused.engine import Engine
from workbench.fused.masks import blocked_from_visible, causal_visible, within_window
from workbench.fused.state import FusedState, NewRows

_NO_BEAMS: IntArray = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Beams:
    """The live beams of one level.

    Attributes:
        token_ids: int64 `[B]`.
        scores: Cumulative log-probabilities, float32 `[B]`.
        flat_ids: Flat candidate numbers, int64 `[B]`.
        hidden: Input of the drafter in place of a feature, `[B, H]`.
        tree_visible: Drafted rows that each beam sees, bool `[B, drafted rows]`, its own not yet among them.
    """

    token_ids: Tensor
    scores: Tensor
    flat_ids: Tensor
    hidden: Tensor
    tree_visible: Tensor


@torch.inference_mode()
def draft(engine: Engine, state: FusedState) -> Drafted:
    """Return the tree under the current root; the drafter's cache then holds the committed rows.

    Raises:
        UsageError: No prefill came before.
    """
    new = state.new_rows
    if new is None:
        raise UsageError("draft needs a context, call prefill first")
    state.watch.about_to_run("draft", {"committed_len": state.committed_len})
    rows = _feed_committed(engine, state, new)
    levels = _grow(engine, state, rows)
    state.drafter_cache.truncate(state.committed_len)
    return _select(levels, int(new.token_ids[-1]), engine.settings.tree_nodes)


def _feed_committed(engine: Engine, state: FusedState, new: NewRows) -> DraftRows:
    """Run the rows of newly committed tokens from teacher features; the last one expands the root."""
    total, num_rows = state.committed_len, len(new.token_ids)
    state.drafter_cache.truncate(total - num_rows)
    window = engine.settings.window
    in_window = window == 0 or total <= window
    positions = torch.arange(total, device=engine.device)
    visible = causal_visible(num_rows, total, window, engine.device) if not in_window else None
    rows = engine.drafter.forward(
        new.token_ids,
        engine.drafter.fuse(new.features),
        positions[total - num_rows :],
        state.drafter_cache,
        engine.attention_call(causal=in_window),
        blocked=None if visible is None else blocked_from_visible(visible),
        last_only=True,
    )
    state.watch.saw_draft_attention(
        flat_ids=_NO_BEAMS,
        query=rows.query[:, -1:],
        key=rows.key,
        query_positions=positions[-1:],
        key_positions=positions,
        visible=within_window(positions[-1:], positions, window) if visible is None else visible[-1:],
    )
    return rows


def _grow(engine: Engine, state: FusedState, root_row: DraftRows) -> tuple[DraftLevel, ...]:
    """Return all scored candidates, level by level."""
    top_k = engine.settings.top_k
    scores, token_ids = _candidates(engine, root_row.logits, top_k)
    levels = [_level(_NO_BEAMS, token_ids, scores)]
    beams = Beams(
        token_ids=token_ids[0],
        scores=scores[0],
        flat_ids=torch.arange(top_k, device=engine.device),
        hidden=root_row.hidden.expand(top_k, -1).contiguous(),
        tree_visible=torch.zeros((top_k, 0), dtype=torch.bool, device=engine.device),
    )
    for expansion in range(engine.settings.depth):
        rows, visible = _expand(engine, state, beams, expansion)
        log_probs, token_ids = _candidates(engine, rows.logits, top_k)
        scores = log_probs + beams.scores[:, None]
        levels.append(_level(beams.flat_ids.cpu().numpy(), token_ids, scores))
        if expansion + 1 < engine.settings.depth:
            best_scores, best = stable_top_k(scores.view(1, -1), top_k)
            parent_beam = best[0] // top_k
            beams = Beams(
                token_ids=token_ids.view(-1)[best[0]],
                scores=best_scores[0],
                flat_ids=top_k + expansion * top_k * top_k + best[0],
                hidden=rows.hidden[parent_beam],
                tree_visible=visible[parent_beam],
            )
    return tuple(levels)


def _expand(engine: Engine, state: FusedState, beams: Beams, expansion: int) -> tuple[DraftRows, Tensor]:
    """Run one row per beam; returns them and the drafted rows each beam sees, its own included."""
    num_beams, committed_len = len(beams.token_ids), state.committed_len
    own = torch.eye(num_beams, dtype=torch.bool, device=engine.device)
    tree_visible = torch.cat([beams.tree_visible, own], dim=1)
    positions = torch.full((num_beams,), committed_len + expansion, device=engine.device)
    key_positions = torch.arange(committed_len + tree_visible.shape[1], device=engine.device)
    key_positions[committed_len:] = committed_len + torch.arange(
        expansion + 1, device=engine.device
    ).repeat_interleave(num_beams)
    visible = within_window(positions, key_positions, engine.settings.window)
    visible[:, committed_len:] &= tree_visible
    rows = engine.drafter.forward(
        beams.token_ids,
        beams.hidden,
        positions,
        state.drafter_cache,
        engine.attention_call(),
        blocked=blocked_from_visible(visible),
    )
    state.watch.saw_draft_attention(
        flat_ids=beams.flat_ids.cpu().numpy(),
        query=rows.query,
        key=rows.key,
        query_positions=positions,
        key_positions=key_positions,
        visible=visible,
    )
    return rows, tree_visible


def _candidates(engine: Engine, logits: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Return log-probabilities float32 `[B, K]` and target token ids `[B, K]`, best first."""
    scores, draft_ids = stable_top_k(logits.float().log_softmax(dim=-1), top_k)
    return scores, engine.drafter.target_from_draft[draft_ids]


def _level(beam_flat_ids: IntArray, token_ids: Tensor, scores: Tensor) -> DraftLevel:
    return DraftLevel(
        beam_flat_ids=beam_flat_ids, token_ids=token_ids.cpu().numpy(), scores=scores.cpu().numpy()
    )


def _select(levels: tuple[DraftLevel, ...], root_token_id: int, tree_nodes: int) -> Drafted:
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
    )


def _ancestry(levels: tuple[DraftLevel, ...]) -> tuple[BoolArray, IntArray, IntArray]:
    """Return, for every candidate: is its parent the root, else the parent's flat number; and its depth."""
    top_k = levels[0].token_ids.size
    beams = np.concatenate([np.zeros(1, np.int64), *(level.beam_flat_ids for level in levels[1:])])
    parent_flat_ids = np.repeat(beams, top_k)
    below_root = np.arange(parent_flat_ids.size) < top_k
    depths = np.concatenate(
        [np.full(level.token_ids.size, depth) for depth, level in enumerate(levels, start=1)]
    )
    return below_root, parent_flat_ids, depths
