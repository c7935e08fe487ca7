"""Drafters of the fused path: one file a kind, and one line in this registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tracing.errors import UsageError
from tracing.models import ModelPair
from workbench.fused.drafters.draft_model import DRAFT_MODEL
from workbench.fused.drafters.eagle3 import EAGLE3
from workbench.fused.drafters.lookup import LOOKUP
from workbench.fused.drafters.medusa import MEDUSA
from workbench.fused.drafters.seam import DrafterKind

DRAFTERS: Final[Mapping[str, DrafterKind]] = {
    "eagle3": EAGLE3,
    "draft_model": DRAFT_MODEL,
    "medusa": MEDUSA,
    "lookup": LOOKUP,
}


def drafter_kind(pair: ModelPair) -> DrafterKind:
    """Return the kind of drafter that a pair holds.

    Raises:
        UsageError: This path has no such drafter.
    """
    if pair.proposer not in DRAFTERS:
        raise UsageError(
            f"proposer should be one of {', '.join(DRAFTERS)} on this path, got {pair.proposer!r}"
        )
    return DRAFTERS[pair.proposer]
