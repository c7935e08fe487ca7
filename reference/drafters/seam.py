"""What a drafter of the reference is: pure functions of values, one set for each rung."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from reference.model import ReferenceModels
from reference.search import DraftContext, Search
from tracing.settings import DecodeSettings
from tracing.stages import Drafted, StageWatch


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


Propose = Callable[[ReferenceModels, str, DraftContext, DecodeSettings, StageWatch], Proposal]
"""`(models, rung, context, settings, watch)`; the watch is called at each attention of the drafter."""


@dataclass(frozen=True, slots=True)
class ReferenceDrafter:
    """One line of the registry. Its taps are in the pair, which both paths read.

    Attributes:
        propose: Drafts freely.
        settings: Fields of `DecodeSettings` that it reads.
        searches: Rung to the beam search of that rung, for drafters that score candidates: with it a recorded
            search of a path is followed and judged. Empty for the others.
        is_exact: The tree follows from the committed tokens and the root without arithmetic, so a path has to
            draft the same one.
        is_chain: Its trees never branch.
    """

    propose: Propose
    settings: tuple[str, ...] = ("tree_nodes",)
    searches: Mapping[str, Search[Any]] = field(default_factory=dict)
    is_exact: bool = False
    is_chain: bool = False
