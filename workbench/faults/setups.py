"""Jobs of their own kind: a draft model that searches or draws, a teacher with experts in groups."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch

from tracing.models import Experts
from workbench.checkpoints.upcycled import with_experts
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


EXPERTS: Final = Experts(num_experts=16, num_groups=4, width=16, shared_width=1)


def experts_for_mlps(setup: Setup) -> Setup:
    """The teacher gets 16 experts in 4 groups; its MLPs become the shared ones."""
    teacher, weights = with_experts(setup.pair.teacher, setup.pair.teacher_weights, EXPERTS, seed=11)
    return replace(setup, pair=replace(setup.pair, teacher=teacher, teacher_weights=weights))


def twin_experts(setup: Setup) -> Setup:
    """As that, with a router that cannot tell the first two experts of each group apart."""
    made = experts_for_mlps(setup)
    weights = dict(made.pair.teacher_weights)
    for layer in range(made.pair.teacher.num_layers):
        name = f"model.layers.{layer}.mlp.gate.weight"
        gate = weights[name].clone()
        gate[1 :: EXPERTS.group_size] = gate[:: EXPERTS.group_size]
        weights[name] = gate
    return replace(made, pair=replace(made.pair, teacher_weights=weights))
