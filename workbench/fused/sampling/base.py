"""What the choosers of the fused path share: the laws of a verified tree, the root, and what they report."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tracing.draws import Draws
from tracing.errors import UsageError
from tracing.sampling import Choice
from tracing.settings import DecodeSettings
from tracing.stages import IntArray, Tensorized, Verified
from workbench.fused.sampling.decide import accepts, recorded, token_of
from workbench.fused.sampling.law import laws


@dataclass(frozen=True, slots=True)
class Sampled:
    """A verified tree while it is decided.

    Attributes:
        tree: Its arrays.
        law: The teacher's after warping, `[N, V]`.
        logits: As verified, `[N, V]`.
        draft: The law that children were drawn from, `[n, V]`, or None.
        draws: Where chance comes from.
        taken: The draws so far.
    """

    tree: Tensorized
    law: Tensor
    logits: Tensor
    draft: Tensor | None
    draws: Draws
    taken: list[float] = field(default_factory=list)

    def children(self, node: int) -> list[int]:
        """Return the nodes below a node, ascending; none is before it."""
        below = self.tree.valid & (self.tree.parents == node)
        below[: node + 1] = False
        return [int(child) for child in np.flatnonzero(below)]

    def draft_law(self, node: int) -> Tensor:
        """Return the law that the children of a node were drawn from, `[V]`, in the target law's dtype.

        Raises:
            UsageError: The drafter gives none.
        """
        if self.draft is None:
            raise UsageError(
                "this acceptance needs the law that drafts were drawn from; the drafter has none"
            )
        return self.draft[node].to(self.law)

    def accepts(self, probability: float) -> bool:
        """Decide by one draw."""
        return accepts(recorded(self.draws, self.taken), probability)

    def token(self, law: Tensor) -> int:
        """Draw a token from a law of any scale."""
        return token_of(recorded(self.draws, self.taken), law)


@dataclass(frozen=True, slots=True)
class Decided:
    """What a rule ended with: the path with its root, the token after it, and whether that was recovered."""

    path: list[int]
    token_id: int
    is_recovered: bool = False


class SamplingRule(ABC):
    """A rule over a tree; see `tracing.sampling.Chooser`."""

    def __init__(self, settings: DecodeSettings, draws: Draws) -> None:
        self.settings = settings
        self.draws = draws

    def root(self, logits: Tensor) -> int:
        """Return the root that one draw gives."""
        return token_of(self.draws.take(), laws(logits[None], self.settings)[0])

    @torch.inference_mode()
    def accept(self, tree: Tensorized, verified: Verified) -> Choice:
        """Return the accepted path and the token after it."""
        law = laws(verified.logits, self.settings)
        sampled = Sampled(tree, law, verified.logits, tree.draft_law, self.draws)
        ended = self.decide(sampled)
        return Choice(
            path=np.array(ended.path, dtype=np.int64),
            final_token_id=ended.token_id,
            draws=np.array(sampled.taken, dtype=np.float64),
            recovered_token_id=ended.token_id if ended.is_recovered else None,
            target_probs=target_probs(tree, law),
            given={
                "row_temperature": self.settings.temperature,
                "row_top_k": self.settings.sampling_top_k,
                "row_top_p": self.settings.top_p,
            },
        )

    @abstractmethod
    def decide(self, sampled: Sampled) -> Decided:
        """Return how the rule ends."""


def target_probs(tree: Tensorized, law: Tensor) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return the law of each node's token given its parent, float32 `[N]`; root 1, pads 0."""
    parents, tokens = (torch.from_numpy(each).to(law.device) for each in (tree.parents, tree.token_ids))
    probs = law[parents, tokens].float().cpu().numpy()
    probs[~tree.valid] = 0.0
    probs[0] = 1.0
    return np.asarray(probs, dtype=np.float32)


def first_of_each(nodes: list[int], token_ids: IntArray) -> list[int]:
    """Return the nodes without those whose token a node before them has."""
    _, first = np.unique(token_ids[nodes], return_index=True) if nodes else (None, np.zeros(0, np.int64))
    return [nodes[place] for place in np.sort(first)]
