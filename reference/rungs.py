"""The three rungs under one shape; each adds one idea, so the first that disagrees names the culprit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from reference import cached, masked, replay, search
from reference.drafters import drafter_of
from reference.drafters.seam import DraftScore
from reference.model import ReferenceModels
from reference.search import DraftContext, DraftTruth, Search
from reference.teacher import TeacherRows, prefill
from tracing.errors import UsageError
from tracing.settings import DecodeSettings, require_one_of
from tracing.stages import Drafted, DraftLevel, NullWatch, StageWatch


@dataclass(frozen=True, slots=True)
class Rung:
    """The teacher as pure functions of values, and the pair's drafter on this rung.

    Attributes:
        name: `replay`, `masked` or `cached`.
        verify: `(models, committed_token_ids, token_ids, position_ids, visible)`; rows of the N nodes.
        prefill: `(models, token_ids)`; rows of a sequence, logits of the last. Both take `chosen`, experts
            that have to work on each row of the sequence.
    """

    name: str
    verify: Callable[..., TeacherRows]
    prefill: Callable[..., TeacherRows] = prefill

    def draft(
        self,
        models: ReferenceModels,
        committed_token_ids: Sequence[int],
        root: int,
        features: Tensor,
        settings: DecodeSettings,
        *,
        watch: StageWatch | None = None,
    ) -> Drafted:
        """Draft freely and return the tree."""
        context = DraftContext(committed_token_ids, root, features)
        drafter = drafter_of(models.pair)
        return drafter.propose(models, self.name, context, settings, watch or NullWatch()).drafted

    def score(
        self,
        models: ReferenceModels,
        committed_token_ids: Sequence[int],
        root: int,
        features: Tensor,
        settings: DecodeSettings,
        *,
        drafted: Drafted,
    ) -> DraftScore | None:
        """Score a given draft; None where the pair's drafter does not."""
        score = drafter_of(models.pair).score
        context = DraftContext(committed_token_ids, root, features)
        return None if score is None else score(models, self.name, context, settings, drafted)

    def features(self, models: ReferenceModels, token_ids: Sequence[int]) -> Tensor:
        """Return the tapped features of a sequence, `[S, F]`."""
        return self.prefill(models, token_ids).features

    def search(self, models: ReferenceModels) -> Search[Any] | None:
        """Return the beam search of the pair's drafter, None if it does not search."""
        return drafter_of(models.pair).searches.get(self.name)

    def replay_levels(
        self,
        models: ReferenceModels,
        committed_token_ids: Sequence[int],
        root: int,
        features: Tensor,
        settings: DecodeSettings,
        *,
        levels: Sequence[DraftLevel],
        watch: StageWatch | None = None,
    ) -> DraftTruth:
        """Score every beam of a given search; see `reference.search.follow`.

        Raises:
            UsageError: The pair's drafter does not search.
        """
        own = self.search(models)
        if own is None:
            raise UsageError(f"a search cannot be followed: {models.pair.proposer} does not search")
        rows = own.begin(models, DraftContext(committed_token_ids, root, features), settings)
        return search.follow(
            rows, own.expand, target_from_draft=models.target_from_draft, levels=levels, watch=watch
        )


REPLAY = Rung("replay", replay.verify)
MASKED = Rung("masked", masked.verify)
CACHED = Rung("cached", cached.verify)
RUNGS: Mapping[str, Rung] = {"replay": REPLAY, "masked": MASKED, "cached": CACHED}


def rung_named(name: str) -> Rung:
    """Return the rung of that name.

    Raises:
        UsageError: Not one of `RUNGS`.
    """
    require_one_of("rung", name, RUNGS)
    return RUNGS[name]
