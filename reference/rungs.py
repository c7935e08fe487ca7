"""The three rungs under one shape; each adds one idea, so the first that disagrees names the culprit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from torch import Tensor

from reference import cached, masked, replay, search
from reference.model import ReferenceModels
from reference.search import AnyRows, DraftTruth, Expand
from reference.teacher import TeacherRows
from tracing.settings import DecodeSettings, require_one_of
from tracing.stages import BoolArray, Drafted, DraftLevel, IntArray, StageWatch


@dataclass(frozen=True, slots=True)
class Rung(Generic[AnyRows]):
    """Pure functions of values: nothing is remembered between two calls.

    Attributes:
        name: `replay`, `masked` or `cached`.
        prefill: `(models, prompt_token_ids)`; rows of the prompt, logits of the last one only.
        begin_draft: `(models, committed_token_ids, root, features, settings)`; the committed drafter rows.
        expand: `(rows, parent_beams, token_ids)`; the drafter rows of the next level.
        verify: `(models, committed_token_ids, token_ids, position_ids, visible)`; rows of the N nodes.
    """

    name: str
    prefill: Callable[[ReferenceModels, Iterable[int]], TeacherRows]
    begin_draft: Callable[[ReferenceModels, Iterable[int], int, Tensor, DecodeSettings], AnyRows]
    expand: Expand[AnyRows]
    verify: Callable[[ReferenceModels, Iterable[int], IntArray, IntArray, BoolArray], TeacherRows]

    def draft(
        self,
        models: ReferenceModels,
        committed_token_ids: Iterable[int],
        root: int,
        features: Tensor,
        settings: DecodeSettings,
        *,
        watch: StageWatch | None = None,
    ) -> Drafted:
        """Search freely and return the selected tree; see `reference.search.grow`."""
        rows = self.begin_draft(models, committed_token_ids, root, features, settings)
        return search.grow(
            rows,
            self.expand,
            target_from_draft=models.target_from_draft,
            root=root,
            settings=settings,
            watch=watch,
        )

    def replay_levels(
        self,
        models: ReferenceModels,
        committed_token_ids: Iterable[int],
        root: int,
        features: Tensor,
        settings: DecodeSettings,
        *,
        levels: Sequence[DraftLevel],
        watch: StageWatch | None = None,
    ) -> DraftTruth:
        """Say what every beam of somebody's search is worth; see `reference.search.follow`."""
        rows = self.begin_draft(models, committed_token_ids, root, features, settings)
        return search.follow(
            rows, self.expand, target_from_draft=models.target_from_draft, levels=levels, watch=watch
        )


REPLAY = Rung("replay", replay.prefill, replay.begin_draft, replay.expand, replay.verify)
MASKED = Rung("masked", masked.prefill, masked.begin_draft, masked.expand, masked.verify)
CACHED = Rung("cached", cached.prefill, cached.begin_draft, cached.expand, cached.verify)
RUNGS: Mapping[str, Rung[Any]] = {"replay": REPLAY, "masked": MASKED, "cached": CACHED}


def rung_named(name: str) -> Rung[Any]:
    """Return the rung of that name.

    Raises:
        UsageError: Not one of `RUNGS`.
    """
    require_one_of("rung", name, RUNGS)
    return RUNGS[name]
