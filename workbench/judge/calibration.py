"""Acceptance against the drafter's own log-probabilities: a sign of what both paths share and have wrong.

It sees a drafter that is sure and wrong, as one with another vocabulary map. Exchanged weights mostly make a
drafter unsure, which is no contradiction: they stay unseen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

CHANCE: Final = 1e-6
"""Below this chance of so few acceptances, if the log-probabilities were right, there is a suspicion."""
SHARE: Final = 0.5
"""Nor is there one while acceptance is above this share of what was expected: a drafter far from the texts
of its training is too sure of itself, and no more."""


@dataclass(frozen=True, slots=True)
class DraftTree:
    """A drafted tree, valid nodes only.

    Attributes:
        token_ids, parents: Of each node `[N]`; the root's parent is 0.
        logprobs: Cumulative log-probability of each node `[N]`; the root's is 0.
    """

    token_ids: Sequence[int]
    parents: Sequence[int]
    logprobs: NDArray[np.floating]


@dataclass(slots=True)
class Calibration:
    """Acceptances expected by the drafter and seen, added step by step.

    Attributes:
        tried: Nodes with children at which the walk of acceptance arrived.
        expected: Sum of the probabilities that the drafter gave their children.
        accepted: How often one of the children was accepted.
    """

    tried: int = 0
    expected: float = 0.0
    accepted: int = 0
    _seen: set[tuple[int, ...]] = field(default_factory=set)

    def add(self, tree: DraftTree, accepted_nodes: Sequence[int], *, cut: bool) -> None:
        """Add one step; what a text that repeats itself shows again is not counted again.

        Args:
            tree: The drafted tree.
            accepted_nodes: Accepted nodes without the root.
            cut: The step ended at a limit or an end token, so what came after its last node is not known.
        """
        parents, logprobs = tree.parents, tree.logprobs
        accepted = {int(node) for node in accepted_nodes}
        walk = [0, *(int(node) for node in accepted_nodes)]
        for node in walk[:-1] if cut else walk:
            children = [child for child in range(1, len(parents)) if int(parents[child]) == node]
            tokens = (int(tree.token_ids[node]), *(int(tree.token_ids[child]) for child in children))
            if children and tokens not in self._seen:
                self._seen.add(tokens)
                base = 0.0 if node == 0 else float(logprobs[node])
                mass = math.fsum(math.exp(float(logprobs[child]) - base) for child in children)
                self.tried += 1
                self.expected += min(mass, 1.0)
                self.accepted += bool(accepted.intersection(children))

    @property
    def chance(self) -> float:
        """Bound of the chance of so few acceptances, if every probability were right (Chernoff)."""
        if self.accepted >= self.expected:
            return 1.0
        seen = self.accepted * math.log(self.expected / self.accepted) if self.accepted else 0.0
        return math.exp(self.accepted - self.expected + seen)

    def suspicion(self) -> str | None:
        """Return a sentence where acceptance is far below what the drafter expects, else None."""
        if self.chance > CHANCE or self.accepted > SHARE * self.expected:
            return None
        return (
            f"the drafter's own probabilities expect {self.expected:.0f} acceptances at {self.tried} nodes, "
            f"{self.accepted} were seen (chance below {CHANCE:g}): its vocabulary map, weights, tapped "
            "layers or teacher may be wrong in a way that both paths share"
        )
