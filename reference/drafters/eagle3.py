"""The EAGLE-3 drafter of the reference: rows over teacher features, searched beam by beam on each rung."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reference import search
from reference.drafters import eagle3_cached, eagle3_masked, eagle3_replay
from reference.drafters.seam import Proposal, ReferenceDrafter
from reference.model import ReferenceModels
from reference.search import DraftContext, Search
from tracing.settings import DRAFT_SETTINGS, DecodeSettings
from tracing.stages import StageWatch

SEARCHES: Final[Mapping[str, Search[Any]]] = {
    "replay": Search(eagle3_replay.begin, eagle3_replay.expand),
    "masked": Search(eagle3_masked.begin, eagle3_masked.expand),
    "cached": Search(eagle3_cached.begin, eagle3_cached.expand),
}


def _propose(
    models: ReferenceModels, rung: str, context: DraftContext, settings: DecodeSettings, watch: StageWatch
) -> Proposal:
    rows = SEARCHES[rung].begin(models, context, settings)
    drafted = search.grow(
        rows,
        SEARCHES[rung].expand,
        target_from_draft=models.target_from_draft,
        root=context.root,
        settings=settings,
        watch=watch,
    )
    return Proposal(drafted, rows.committed_kv)


EAGLE3: Final = ReferenceDrafter(_propose, settings=DRAFT_SETTINGS, searches=SEARCHES)
