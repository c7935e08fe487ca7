"""The EAGLE-3 drafter: fed with teacher features of committed rows, then a beam search under the root."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Final, NamedTuple, cast

import torch
from torch import Tensor

from tracing.stages import Drafted
from workbench.fused.attention import AttentionCall
from workbench.fused.cache.contiguous import ContiguousCache
from workbench.fused.drafters import search
from workbench.fused.drafters.eagle3_network import DraftRows, Eagle3Network
from workbench.fused.drafters.seam import CommittedRows, DrafterKind, DrafterParts, DraftTurn, Memory
from workbench.fused.drafters.search import NO_BEAMS, Beams
from workbench.fused.masks import blocked_from_visible, causal_visible, within_window
from workbench.fused.switches import Switches


@dataclass(frozen=True, slots=True)
class NewRows:
    """Rows that the next draft has to feed to the network first.

    Attributes:
        features: Teacher features of each row, `[R, 3 * H_target]`.
        token_ids: The token after each row, the root last, int64 `[R]`.
    """

    features: Tensor
    token_ids: Tensor


@dataclass(slots=True)
class Eagle3Memory:
    """What the drafter keeps of one context.

    Attributes:
        cache: One row per pair (feature j, token j + 1) that was fed.
        new_rows: What the next draft begins with; None before prefill.
    """

    cache: ContiguousCache = field(default_factory=lambda: ContiguousCache(1))
    new_rows: NewRows | None = None

    def snapshot(self) -> Eagle3Memory:
        """Return a copy, memory and all."""
        new = self.new_rows
        copied = None if new is None else NewRows(new.features.clone(), new.token_ids.clone())
        return Eagle3Memory(copy.deepcopy(self.cache), copied)


@dataclass(frozen=True, slots=True)
class Eagle3Drafter:
    """The network with what its search needs; see `workbench.fused.drafters.seam.Drafter`.

    Attributes:
        network: The drafter's one layer and head.
        switches: Which operators run fused.
        device: Where it runs.
        window: Keys that a row attends to, of the checkpoint and of the settings the narrower; 0 is all.
    """

    network: Eagle3Network
    switches: Switches
    device: torch.device
    window: int

    def begin(self) -> Eagle3Memory:
        """Return an empty memory."""
        return Eagle3Memory()

    def follow(self, memory: Memory, rows: CommittedRows) -> None:
        """Keep the rows until the next draft feeds them."""
        cast("Eagle3Memory", memory).new_rows = NewRows(
            rows.features, torch.from_numpy(rows.next_token_ids).to(self.device)
        )

    def draft(self, memory: Memory, turn: DraftTurn) -> Drafted:
        """Return the tree under the root; the cache then holds the committed rows."""
        own = cast("Eagle3Memory", memory)
        new = own.new_rows
        assert new is not None, "the draft stage asks for a context first"
        root_row = _feed_committed(self, own, new, turn)
        levels = search.grow(
            root_row, partial(_expand, self, own, turn), self.network.target_from_draft, turn.settings
        )
        own.cache.truncate(turn.committed_len)
        return search.select(levels, int(new.token_ids[-1]), turn.settings.tree_nodes, proposer="eagle3")

    def call(self, turn: DraftTurn, *, causal: bool = False) -> AttentionCall:
        """Return how a forward runs its attention under the switches."""
        fused = self.switches.fused_attention(tree=False)
        return AttentionCall(fused=fused, causal=causal, seen=turn.seen)


def _feed_committed(drafter: Eagle3Drafter, memory: Eagle3Memory, new: NewRows, turn: DraftTurn) -> DraftRows:
    """Run the rows of newly committed tokens from teacher features; the last one expands the root."""
    total, num_rows = turn.committed_len, len(new.token_ids)
    memory.cache.truncate(total - num_rows)
    window = drafter.window
    in_window = window == 0 or total <= window
    positions = torch.arange(total, device=drafter.device)
    visible = causal_visible(num_rows, total, window, drafter.device) if not in_window else None
    rows = drafter.network.forward(
        new.token_ids,
        drafter.network.fuse(new.features, turn.seen),
        positions[total - num_rows :],
        memory.cache,
        drafter.call(turn, causal=in_window),
        blocked=None if visible is None else blocked_from_visible(visible),
        last_only=True,
    )
    turn.watch.saw_draft_attention(
        flat_ids=NO_BEAMS,
        query=rows.query[:, -1:],
        key=rows.key,
        query_positions=positions[-1:],
        key_positions=positions,
        visible=within_window(positions[-1:], positions, window) if visible is None else visible[-1:],
    )
    return rows


def _expand(
    drafter: Eagle3Drafter, memory: Eagle3Memory, turn: DraftTurn, beams: Beams
) -> tuple[DraftRows, Tensor]:
    """Run one row per beam; returns them and the drafted rows each beam sees, its own included."""
    committed_len, level = turn.committed_len, _level(len(beams.token_ids), beams.expansion, drafter.device)
    tree_visible = torch.cat([beams.tree_visible, level.own], dim=1)
    positions = level.rows + committed_len
    key_positions = torch.cat(
        [torch.arange(committed_len, device=drafter.device), level.keys + committed_len]
    )
    visible = within_window(positions, key_positions, drafter.window)
    visible[:, committed_len:] &= tree_visible
    rows = drafter.network.forward(
        beams.token_ids,
        beams.hidden,
        positions,
        memory.cache,
        drafter.call(turn),
        blocked=blocked_from_visible(visible),
    )
    turn.watch.saw_draft_attention(
        flat_ids=beams.flat_ids.cpu().numpy(),
        query=rows.query,
        key=rows.key,
        query_positions=positions,
        key_positions=key_positions,
        visible=visible,
    )
    return rows, tree_visible


class _Level(NamedTuple):
    """What the rows of a level have in common in every draft.

    Attributes:
        rows, keys: Distance of the level's rows, and of all rows drafted by then, from the root's position.
        own: Each row sees itself, bool `[B, B]`.
    """

    rows: Tensor
    keys: Tensor
    own: Tensor


@lru_cache(maxsize=64)
def _level(num_beams: int, expansion: int, device: torch.device) -> _Level:
    with torch.inference_mode(mode=False):
        levels = torch.arange(expansion + 1, device=device)
        return _Level(
            torch.full((num_beams,), expansion, device=device),
            levels.repeat_interleave(num_beams),
            torch.eye(num_beams, dtype=torch.bool, device=device),
        )


def _build(parts: DrafterParts) -> Eagle3Drafter:
    pair = parts.pair
    search.require_width(parts.settings, len(pair.target_from_draft))
    network = Eagle3Network(
        pair.drafter,
        pair.drafter_weights,
        pair.target_from_draft,
        parts.operators,
        device=parts.device,
        dtype=parts.dtype,
    )
    own, asked = pair.drafter.window, parts.settings.window
    return Eagle3Drafter(network, parts.switches, parts.device, min(own, asked) or own or asked)


EAGLE3: Final = DrafterKind(_build, attends=lambda pair: (pair.drafter,))
