"""What a drafter of the reference is: pure functions of values, one set for each rung."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from reference.model import ReferenceModels
from reference.search import DraftContext, Search, grow
from tracing.settings import DecodeSettings
from tracing.stages import Drafted, IntArray, StageWatch


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a drafter made of a context.

    Attributes:
        drafted: The tree; root alone where there is nothing to propose.
        committed_kv: Its own rows of the committed tokens, `[layers, 2, kv_heads, L, D]`, which the cached
            rung gives back as `DraftContext.past_kv`; None where it has none.
    """

    drafted: Drafted
    committed_kv: Tensor | None = None


@dataclass(frozen=True, slots=True)
class DraftScore:
    """A given draft by the reference's arithmetic, where no search is shown: G rows propose its nodes.

    Attributes:
        logprobs: Log-probabilities over the draft vocabulary, one row per expansion, `[G, Vd]`, not
            cumulative: one per head of a static tree, one per node of a chain.
        row_of: Row that each node was proposed from, int64 `[n]`, -1 where there is none; the root's own is
            ignored.
        law: Probabilities, after warping, that the tokens were drawn from, `[G, Vd]`: one draw a node, in
            order of nodes, token ids ascending. None where nothing is drawn.
        committed_kv: As `Proposal.committed_kv`.
        parents: Those that the tree must have, `[n]`, where it is the same at every step; else None.
        ranks: Rank in its row that each node's token must have, best 0, int64 `[n]`; None where any may be.
    """

    logprobs: Tensor
    row_of: IntArray
    law: Tensor | None = None
    committed_kv: Tensor | None = None
    parents: IntArray | None = None
    ranks: IntArray | None = None


Propose = Callable[[ReferenceModels, str, DraftContext, DecodeSettings, StageWatch], Proposal]
"""`(models, rung, context, settings, watch)`; the watch is called at each attention of the drafter."""


Score = Callable[[ReferenceModels, str, DraftContext, DecodeSettings, Drafted], DraftScore | None]
"""`(models, rung, context, settings, drafted)`, of which tokens and tree are read; None for no scores."""


def by_search(searches: Mapping[str, Search[Any]], proposer: str) -> Propose:
    """Return how a drafter that scores candidates drafts freely: it grows a beam search on each rung."""

    def propose(
        models: ReferenceModels,
        rung: str,
        context: DraftContext,
        settings: DecodeSettings,
        watch: StageWatch,
    ) -> Proposal:
        rows = searches[rung].begin(models, context, settings)
        drafted = grow(
            rows,
            searches[rung].expand,
            target_from_draft=models.target_from_draft,
            root=context.root,
            settings=settings,
            watch=watch,
        )
        return Proposal(replace(drafted, proposer=proposer), rows.committed_kv)

    return propose


@dataclass(frozen=True, slots=True)
class ReferenceDrafter:
    """One line of the registry. Its taps are in the pair, which both paths read.

    Attributes:
        propose: Drafts freely.
        score: Scores a given draft, for a drafter that gives log-probabilities, or samples, and shows no
            search; None where scores are not checked.
        settings: Those of `tracing.settings.DRAFT_SETTINGS` that it reads; others are neither recorded nor
            bounds of its trees.
        searches: Rung to the beam search of that rung, for drafters that score candidates: with it a recorded
            search of a path is followed and judged. Empty for the others.
        is_exact: The tree follows from the committed tokens and the root without arithmetic, so a path has to
            draft the same one.
        is_chain: Its trees never branch.
    """

    propose: Propose
    score: Score | None = None
    settings: tuple[str, ...] = ()
    searches: Mapping[str, Search[Any]] = field(default_factory=dict)
    is_exact: bool = False
    is_chain: bool = False

    def never_branches(self, settings: DecodeSettings) -> bool:
        """Return whether no tree of it can branch under these settings."""
        return self.is_chain or (bool(self.searches) and settings.top_k == 1)
