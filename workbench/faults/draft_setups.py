"""Jobs whose drafter is a draft model: one that searches, and one that draws."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch

from workbench.faults.experiment import Setup

OFF_BY: Final = 0.1
"""Noise in a copy of the teacher that drafts, in standard deviations of each tensor."""


def drawing(setup: Setup) -> Setup:
    """A draft model, far from the teacher, that draws chains for a rule that accepts with p over q."""
    drafting = drafting_model(setup, off_by=5 * OFF_BY)
    settings = replace(drafting.settings, acceptance="rejection", temperature=0.7, depth=2, max_new_tokens=24)
    return replace(drafting, settings=settings)


def drafting_model(setup: Setup, off_by: float = OFF_BY) -> Setup:
    """The drafter gives way to a copy of the teacher that is a little off."""
    random = torch.Generator().manual_seed(5)
    weights = {
        name: tensor + off_by * tensor.float().std() * torch.randn(tensor.shape, generator=random).to(tensor)
        for name, tensor in setup.pair.teacher_weights.items()
        if tensor.numel() > 1
    }
    pair = replace(
        setup.pair,
        drafter=setup.pair.teacher,
        drafter_weights=weights,
        target_from_draft=None,
        proposer="draft_model",
    )
    settings = replace(setup.settings, tree_nodes=10, depth=3, top_k=3)
    return replace(setup, pair=pair, settings=settings)
