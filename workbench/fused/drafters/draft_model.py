"""A smaller language model as drafter on the fused path: its own cache, and a beam search under the root."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, cast

import torch
from torch import Tensor

from tracing.models import Taps
from tracing.settings import DRAWN_DRAFTS
from tracing.stages import Drafted
from workbench.fused.attention import AttentionCall
from workbench.fused.cache.contiguous import ContiguousCache
from workbench.fused.drafters import search
from workbench.fused.drafters.drawn import grow_drawn
from workbench.fused.drafters.seam import (
    CommittedRows,
    DrafterKind,
    DrafterParts,
    DraftTurn,
    Memory,
    TokenMemory,
)
from workbench.fused.drafters.search import Beams
from workbench.fused.masks import blocked_from_visible, causal_visible, padded_to, within_window
from workbench.fused.seen import Seen
from workbench.fused.switches import Switches
from workbench.fused.teacher import Teacher


@dataclass(frozen=True, slots=True)
class ProposingRows:
    """Rows of one level: nothing but logits, `[B, V]`, leads from a beam to those below it."""

    logits: Tensor

    @property
    def hidden(self) -> Tensor:
        """Nothing, `[B, 0]`."""
        return self.logits[:, :0]


@dataclass(slots=True)
class ModelMemory:
    """The tokens of one context, and rows of the first of them."""

    cache: ContiguousCache
    tokens: TokenMemory = field(default_factory=TokenMemory)

    def snapshot(self) -> ModelMemory:
        """Return a copy, cache and all."""
        return ModelMemory(copy.deepcopy(self.cache), self.tokens.snapshot())


@dataclass(frozen=True, slots=True)
class DraftModel:
    """The model with what its search needs; see `workbench.fused.drafters.seam.Drafter`.

    Attributes:
        target_from_draft: The identity: both models have one vocabulary.
    """

    model: Teacher
    target_from_draft: Tensor
    switches: Switches
    device: torch.device

    def begin(self) -> ModelMemory:
        """Return an empty memory."""
        return ModelMemory(ContiguousCache(self.model.num_layers))

    def follow(self, memory: Memory, rows: CommittedRows) -> None:
        """Append the rows' tokens; the next draft runs those without a row."""
        cast("ModelMemory", memory).tokens.follow(rows)

    def draft(self, memory: Memory, turn: DraftTurn) -> Drafted:
        """Return the tree under the root; the cache then holds the committed rows."""
        own = cast("ModelMemory", memory)
        root_row, root = _feed(self, own, turn.seen), own.tokens.token_ids[-1]
        expand, settings = partial(_expand, self, own, turn), turn.settings
        if turn.draws is not None and settings.acceptance in DRAWN_DRAFTS:
            drafted = grow_drawn(root_row, expand, settings, turn.draws, root)
        else:
            levels = search.grow(root_row, expand, self.target_from_draft, settings)
            drafted = search.select(levels, root, settings.tree_nodes, proposer="draft_model")
        own.cache.truncate(turn.committed_len)
        return drafted


def _feed(drafter: DraftModel, memory: ModelMemory, seen: Seen | None) -> ProposingRows:
    """Run the tokens without a row, the root last."""
    known, token_ids, device = memory.cache.get_seq_length(), memory.tokens.token_ids, drafter.device
    total = len(token_ids)
    visible = {
        window: causal_visible(total - known, total, window, device)
        for window in dict.fromkeys(drafter.model.windows)
        if known or (window and total > window)
    }
    tokens = torch.tensor(token_ids[known:], device=device)
    positions = torch.arange(known, total, device=device)
    return _run(drafter, memory, tokens, positions, visible, last_only=True, seen=seen)


def _expand(
    drafter: DraftModel, memory: ModelMemory, turn: DraftTurn, beams: Beams
) -> tuple[ProposingRows, Tensor]:
    """Run one row per beam; returns them and the drafted rows each beam sees, its own included."""
    num_beams, first, device = len(beams.token_ids), turn.committed_len + 1, drafter.device
    own = torch.eye(num_beams, dtype=torch.bool, device=device)
    tree_visible = torch.cat([beams.tree_visible, own], dim=1)
    positions = torch.full((num_beams,), first + beams.expansion, device=device)
    levels = torch.arange(beams.expansion + 1, device=device).repeat_interleave(num_beams)
    key_positions = torch.cat([torch.arange(first, device=device), first + levels])
    visible = {}
    for window in dict.fromkeys(drafter.model.windows):
        visible[window] = within_window(positions, key_positions, window)
        visible[window][:, first:] &= tree_visible
    return _run(drafter, memory, beams.token_ids, positions, visible, seen=turn.seen), tree_visible


def _run(
    drafter: DraftModel,
    memory: ModelMemory,
    token_ids: Tensor,
    positions: Tensor,
    visible: Mapping[int, Tensor],
    *,
    last_only: bool = False,
    seen: Seen | None = None,
) -> ProposingRows:
    """Run rows under `visible`, by the window of a layer; without one they are a whole sequence."""
    width = memory.cache.mask_width(len(token_ids))
    call = AttentionCall(fused=drafter.switches.fused_attention(tree=False), causal=True, seen=seen)
    blocked = {window: blocked_from_visible(padded_to(seen, width)) for window, seen in visible.items()}
    out = drafter.model.forward(
        token_ids, positions, memory.cache, call, blocked=blocked, last_only=last_only
    )
    return ProposingRows(out.logits)


def _build(parts: DrafterParts) -> DraftModel:
    config, vocab_size = parts.pair.drafter, parts.pair.teacher.vocab_size
    search.require_width(parts.settings, vocab_size)
    model = Teacher(
        config,
        parts.pair.drafter_weights,
        Taps(),
        parts.operators,
        device=parts.device,
        dtype=parts.dtype,
    )
    return DraftModel(model, torch.arange(vocab_size, device=parts.device), parts.switches, parts.device)


DRAFT_MODEL: Final = DrafterKind(_build, attends=lambda pair: (pair.drafter,))
