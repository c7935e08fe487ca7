"""The chooser: who decides which token comes, greedily or by chance.

A path that can sample declares a factory, `DecodePath.chooser`, from draws to a chooser, and its `begin`
takes the chooser as second argument. Each path builds choosers of its own: no acceptance code is shared. A
greedy chooser takes no draw. Where a token is sampled from a law, one uniform is taken and decides by the
inverse of the cumulative law, ids ascending. Order of use within a step: the root's draw (prefill, a turn's
first step), one a drafted node (a drafter that samples), then accept's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, TypedDict

from tracing.draws import Draws
from tracing.models import Tensor
from tracing.results import DrawArray
from tracing.stages import FloatArray, IntArray, Tensorized, Verified


class SamplerGiven(TypedDict, total=False):
    """What a sampler was given, by trace column."""

    row_temperature: float
    row_top_k: int
    row_top_p: float


@dataclass(frozen=True, slots=True)
class Choice:
    """What a chooser decided about one tree, before any cut at EOS or at the token budget.

    Attributes:
        path: Root, then the accepted nodes in order, int64 `[A + 1]`.
        final_token_id: The token after the path: bonus at a leaf, correction otherwise.
        draws: Uniforms that it took, in order of use, float64 `[D]`.
        recovered_token_id: The final token where it was drawn from what a rejection left of the law.
        target_probs: As `tracing.results.Accepted`.
        given: What the rule was given.
    """

    path: IntArray
    final_token_id: int
    draws: DrawArray | None = None
    recovered_token_id: int | None = None
    target_probs: FloatArray | None = None
    given: SamplerGiven = field(default_factory=SamplerGiven)


class Chooser(Protocol):
    """Picks roots and accepted paths; keeps nothing but its source of draws."""

    @property
    def draws(self) -> Draws | None:
        """Where chance comes from; drafters that sample take theirs here too. None when greedy."""
        ...

    def root(self, logits: Tensor) -> int:
        """Return the first root of a turn from the logits after the prompt, `[V]`."""
        ...

    def accept(self, tree: Tensorized, verified: Verified) -> Choice:
        """Return the accepted path: from the tree and its draft law, and the logits of its nodes `[N, V]`."""
        ...
