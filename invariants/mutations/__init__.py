"""Named ways to spoil a legal step, each with the rule that must report it and alone."""

from __future__ import annotations

from typing import Final

from invariants.mutations import accept, seen, tree, turn
from invariants.mutations.case import Case, Mutation, NoPlaceError, Pick, permuted

MUTATIONS: Final[tuple[Mutation, ...]] = (
    *tree.MUTATIONS,
    *seen.MUTATIONS,
    *accept.MUTATIONS,
    *turn.MUTATIONS,
)

__all__ = ["MUTATIONS", "Case", "Mutation", "NoPlaceError", "Pick", "permuted"]
