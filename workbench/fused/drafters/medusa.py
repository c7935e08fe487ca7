"""Medusa on the fused path: all heads over one hidden row, their best tokens laid out on a static tree."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tracing.errors import UsageError
from tracing.models import MedusaConfig
from tracing.stages import Drafted, FloatArray
from tracing.static_tree import WIDTH, require_heads, static_tree
from workbench.fused.drafters.seam import CommittedRows, DrafterKind, DrafterParts, DraftTurn, Memory
from workbench.fused.drafters.search import stable_top_k
from workbench.fused.drafters.static_tree import StaticTree
from workbench.fused.linear import Linear
from workbench.fused.seen import Seen


@dataclass(slots=True)
class LastRow:
    """What the next draft begins with.

    Attributes:
        hidden: Final hidden state of the last committed token, `[1, H]`; None before prefill.
        root: The token after it.
    """

    hidden: Tensor | None = None
    root: int = 0
    cache: None = None

    def snapshot(self) -> LastRow:
        """Return a copy."""
        return replace(self, hidden=None if self.hidden is None else self.hidden.clone())


@dataclass(frozen=True, slots=True)
class MedusaDrafter:
    """Heads and topology; see `workbench.fused.drafters.seam.Drafter`.

    Attributes:
        blocks: Residual blocks of each head, in order.
        heads: Last layer of each head.
        target_from_draft: int64 `[Vd]`.
        tree: Of every step.
    """

    blocks: tuple[tuple[Linear, ...], ...]
    heads: tuple[Linear, ...]
    logit_scale: float
    target_from_draft: Tensor
    tree: StaticTree

    def begin(self) -> LastRow:
        """Return an empty memory."""
        return LastRow()

    def follow(self, memory: Memory, rows: CommittedRows) -> None:
        """Keep the last row."""
        own = cast("LastRow", memory)
        own.hidden, own.root = rows.features[-1:], int(rows.next_token_ids[-1])

    def draft(self, memory: Memory, turn: DraftTurn) -> Drafted:
        """Return the static tree with the heads' best tokens."""
        own = cast("LastRow", memory)
        assert own.hidden is not None, "the draft stage asks for a context first"
        scores, tokens = candidates(self, own.hidden, turn.seen)
        places = self.tree.candidates
        token_ids = np.concatenate([[own.root], tokens.cpu().numpy().ravel()])[places]
        gained = np.concatenate([np.zeros(1, np.float32), scores.cpu().numpy().ravel()])[places]
        return Drafted(
            token_ids=token_ids,
            parents=self.tree.parents,
            depths=self.tree.depths,
            logprobs=summed_down(self.tree, gained),
            proposer="medusa",
        )


def candidates(drafter: MedusaDrafter, hidden: Tensor, seen: Seen | None = None) -> tuple[Tensor, Tensor]:
    """Return the best tokens of each head, best first: log-probabilities and target ids, `[heads, WIDTH]`.

    Args:
        drafter: Its heads.
        hidden: `[1, H]`.
        seen: Where the tensors of the heads are told, or None.
    """
    rows = []
    for number, (blocks, head) in enumerate(zip(drafter.blocks, drafter.heads, strict=True)):
        x = hidden
        for block in blocks:
            x = x + functional.silu(block(x))
        rows.append(head(x))
        if seen is not None:
            seen.at(f"heads.{number}")(output=x, logits=rows[-1])
    if seen is not None:
        seen(features=hidden)
    logits = torch.cat(rows).float() * drafter.logit_scale
    scores, draft_ids = stable_top_k(logits.log_softmax(dim=-1), WIDTH)
    return scores, drafter.target_from_draft[draft_ids]


def summed_down(tree: StaticTree, gained: FloatArray) -> FloatArray:
    """Return the sums from the root to each node, float32 `[T]`; parents come before children."""
    sums = gained.copy()
    for node, parent in enumerate(tree.parents.tolist()[1:], start=1):
        sums[node] += sums[parent]
    return sums


def _build(parts: DrafterParts) -> MedusaDrafter:
    config: MedusaConfig = parts.pair.drafter
    paths = static_tree(parts.settings.static_tree)
    require_heads(paths, config.num_heads)
    if len(paths) + 1 > parts.settings.tree_nodes:
        raise UsageError(
            f"tree_nodes should be at least {len(paths) + 1}, the nodes of the static tree, "
            f"got {parts.settings.tree_nodes}"
        )
    if config.draft_vocab_size < WIDTH:
        raise UsageError(f"Medusa heads should have at least {WIDTH} tokens, got {config.draft_vocab_size}")
    placed = {
        name: tensor.detach().to(device=parts.device, dtype=parts.dtype)
        for name, tensor in parts.pair.drafter_weights.items()
    }

    def layer(name: str) -> Linear:
        return parts.operators.products.of(placed[f"{name}.weight"], placed.get(f"{name}.bias"))

    names = range(config.num_heads)
    target = parts.pair.target_from_draft
    target_ids = torch.arange(config.draft_vocab_size) if target is None else torch.as_tensor(target)
    return MedusaDrafter(
        blocks=tuple(
            tuple(layer(f"blocks.{head}.layers.{number}") for number in range(config.num_layers))
            for head in names
        ),
        heads=tuple(layer(config.head(head)) for head in names),
        logit_scale=config.logit_scale,
        target_from_draft=target_ids.to(parts.device, torch.int64),
        tree=StaticTree.of(paths),
    )


MEDUSA: Final = DrafterKind(_build)
