"""Drafters of the reference: one file a kind, and one line in this registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from reference.drafters.draft_model import DRAFT_MODEL
from reference.drafters.eagle3 import EAGLE3
from reference.drafters.lookup import LOOKUP
from reference.drafters.medusa import MEDUSA
from reference.drafters.seam import ReferenceDrafter
from tracing.errors import UsageError
from tracing.models import ModelPair

DRAFTERS: Final[Mapping[str, ReferenceDrafter]] = {
    "eagle3": EAGLE3,
    "draft_model": DRAFT_MODEL,
    "medusa": MEDUSA,
    "lookup": LOOKUP,
}


def drafter_of(pair: ModelPair) -> ReferenceDrafter:
    """Return the drafter of the kind that a pair holds.

    Raises:
        UsageError: The reference has no such drafter.
    """
    if pair.proposer not in DRAFTERS:
        raise UsageError(
            f"proposer should be one of {', '.join(DRAFTERS)} in the reference, got {pair.proposer!r}"
        )
    return DRAFTERS[pair.proposer]
