"""The EAGLE-3 drafter of the reference: rows over teacher features, searched beam by beam on each rung."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from reference import search
from reference.drafters import eagle3_replay, eagle3_tree
from reference.drafters.seam import Proposal, ReferenceDrafter
from reference.model import ReferenceModels
from reference.search import DraftContext, Search
from tracing.settings import SEARCH_SETTINGS, DecodeSettings
from tracing.stages import StageWatch

SEARCHES: Final[Mapping[str, Search[Any]]] = {
    "replay": Search(eagle3_replay.begin, eagle3_replay.expand),
    "masked": Search(partial(eagle3_tree.begin, reuses_kv=False), eagle3_tree.expand),
    "cached": Search(partial(eagle3_tree.begin, reuses_kv=True), eagle3_tree.expand),
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


EAGLE3: Final = ReferenceDrafter(_propose, settings=SEARCH_SETTINGS, searches=SEARCHES)
