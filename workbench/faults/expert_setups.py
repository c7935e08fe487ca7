"""Jobs whose teacher has experts in groups."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tracing.models import Experts
from workbench.checkpoints.upcycled import with_experts
from workbench.faults.experiment import Setup

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
