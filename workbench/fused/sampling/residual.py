"""Rules for drafts that were drawn: p / q against a residual, with and without replacement, and by blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.fused.sampling.base import Decided, Sampled, SamplingRule


class WithReplacement(SamplingRule):
    """Rejection sampling on chains, SpecInfer's multi-step sampling on trees of independent draws."""

    def decide(self, sampled: Sampled) -> Decided:
        """Walk down; a rejected child takes its law out of what is left."""
        tree, path = sampled.tree, [0]
        while True:
            rest, children = sampled.law[path[-1]].double(), sampled.children(path[-1])
            draft = sampled.draft_law(path[-1]).double() if children else rest
            for child in children:
                token_id = int(tree.token_ids[child])
                if sampled.accepts(quotient(rest, draft, token_id)):
                    path.append(child)
                    break
                rest = positive(rest - draft, otherwise=rest)
                draft = self.next_draft(draft, token_id)
            else:
                return Decided(path, sampled.token(rest), is_recovered=bool(children))

    def next_draft(self, draft: Tensor, token_id: int) -> Tensor:  # noqa: ARG002  for those that differ in it
        """Return the law that the next child was drawn from, given that this one was drawn before."""
        return draft


class WithoutReplacement(WithReplacement):
    """Recursive rejection sampling: siblings are distinct, each has the law given those before it."""

    def next_draft(self, draft: Tensor, token_id: int) -> Tensor:
        """Return the law without the token."""
        rest = draft.clone()
        rest[token_id] = 0
        return positive(rest, otherwise=draft)


class BlockVerification(SamplingRule):
    """A chain as a whole: the last place that its own draw accepts, whatever those before it say."""

    def decide(self, sampled: Sampled) -> Decided:
        """Take one draw a place, then the final token from what the accepted weight leaves."""
        chain, tree = [0], sampled.tree
        while below := sampled.children(chain[-1]):
            chain.append(below[0])
        rows = sampled.law.double()
        weights, accepted = [1.0], 0
        for place in range(1, len(chain)):
            token_id, draft = int(tree.token_ids[chain[place]]), sampled.draft_law(chain[place - 1]).double()
            share = quotient(weights[-1] * rows[chain[place - 1]], draft, token_id)
            weights.append(min(share, 1.0))
            if sampled.accepts(self._chance(sampled, rows, chain, place, weights[-1])):
                accepted = place
        last = chain[accepted]
        if accepted == len(chain) - 1:
            return Decided(chain, sampled.token(rows[last]))
        rest = weights[accepted] * rows[last] - sampled.draft_law(last).double()
        token_id = sampled.token(positive(rest, otherwise=rows[last]))
        return Decided(chain[: accepted + 1], token_id, is_recovered=True)

    @staticmethod
    def _chance(sampled: Sampled, rows: Tensor, chain: list[int], place: int, weight: float) -> float:
        """Return what the draw of a place has to be below."""
        if place == len(chain) - 1:
            return weight
        node = chain[place]
        left = float((weight * rows[node] - sampled.draft_law(node).double()).clamp_min(0).sum())
        return left / (left + 1 - weight) if left + 1 - weight > 0 else 1.0


def quotient(law: Tensor, draft: Tensor, token_id: int) -> float:
    """Return p / q of a token; infinite where only the draft lacks it, 0 where both do."""
    chance, drafted = float(law[token_id]), float(draft[token_id])
    if drafted > 0:
        return chance / drafted
    return torch.inf if chance > 0 else 0.0


def positive(rest: Tensor, otherwise: Tensor) -> Tensor:
    """Return the positive part of what is left, as a law; `otherwise` where nothing is."""
    part = rest.clamp_min(0)
    total = part.sum()
    return part / total if float(total) > 0 else otherwise
