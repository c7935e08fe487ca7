"""Sampled decisions that only rounding explains: near ties in probability."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from workbench.judge.notes import Notes


@dataclass(frozen=True, slots=True)
class DrawTie:
    """A sampled decision that only rounding explains.

    Attributes:
        node: Node whose children or token it is about.
        fused, reference: The token of each; for an acceptance 0 is yes and 1 no.
        gap: How far the draw is outside the answer's share of `[0, 1)`.
        allowance: How far rounding moves the borders of that share.
        is_token: A token was drawn; else a draft was accepted or not.
    """

    node: int
    fused: int
    reference: int
    gap: float
    allowance: float
    is_token: bool


def note_draw_ties(notes: Notes, ties: Iterable[DrawTie]) -> None:
    """Record near ties of draws; each decided what is emitted."""
    for tie in ties:
        notes.near_tie(
            "draw" if tie.is_token else "acceptance",
            node=tie.node,
            fused=tie.fused,
            reference=tie.reference,
            gap=tie.gap,
            allowance=tie.allowance,
        )
