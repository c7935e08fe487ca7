"""Medusa's acceptance, rows of the tree side by side; both change the law of what is emitted."""

from __future__ import annotations

from typing import Final

import torch

from workbench.fused.sampling.base import Decided, Sampled, SamplingRule

THRESHOLD: Final = 0.09
ALPHA: Final = 0.3
"""Settings of typical acceptance, as published."""


def rows_of(sampled: Sampled) -> list[list[int]]:
    """Return the nodes from below the root to each leaf, leaves ascending."""
    parents, path_of = sampled.tree.parents.tolist(), {0: list[int]()}
    for node in range(1, len(parents)):
        if sampled.tree.valid[node] and parents[node] in path_of:
            path_of[node] = [*path_of[parents[node]], node]
    inner = {parents[node] for node in path_of if node}
    return [path for node, path in path_of.items() if path and node not in inner]


class TypicalAcceptance(SamplingRule):
    """Accepts what exceeds a threshold that falls with the entropy; no draw at all."""

    def decide(self, sampled: Sampled) -> Decided:
        """Return the longest row of typical tokens, the likeliest of equals; then the teacher's best."""
        law = sampled.law.double()
        entropy = -(law * (law + 1e-5).log()).sum(dim=-1)
        least = torch.clamp_max(ALPHA * (-entropy).exp(), THRESHOLD)
        runs = []
        for row in rows_of(sampled):
            above = [0, *row[:-1]]
            chances = law[above, sampled.tree.token_ids[row]]
            typical = (chances > least[above]).long().cumprod(dim=0)
            length = int(typical.sum())
            runs.append((length, float(chances[:length].log().sum()), row[:length]))
        best: list[int] = []
        length, likelihood = 0, -torch.inf
        for one, score, nodes in runs:
            if one and (one > length or (one == length and score > likelihood)):
                length, likelihood, best = one, score, nodes
        path = [0, *best]
        return Decided(path, int(sampled.logits[path[-1]].argmax()))


class NucleusRows(SamplingRule):
    """Draws for every place of every row until one differs; the final token is drawn anew."""

    def decide(self, sampled: Sampled) -> Decided:
        """Return the first of the longest rows that drew themselves."""
        best: list[int] = []
        for row in rows_of(sampled):
            length = 0
            for above, node in zip([0, *row], row, strict=False):
                if not sampled.accepts(float(sampled.law[above, int(sampled.tree.token_ids[node])])):
                    break
                length += 1
            if length > len(best):
                best = row[:length]
        path = [0, *best]
        return Decided(path, sampled.token(sampled.law[path[-1]]))
