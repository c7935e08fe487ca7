"""Tiny random pairs whose teacher has experts in groups."""

from __future__ import annotations

from dataclasses import replace

import torch

from tests.pairs import tiny_pair
from tracing.models import Experts, ModelPair
from workbench.checkpoints.shapes import teacher_shapes

EXPERTS = Experts(num_experts=16, num_groups=4, width=16, shared_width=32)


def expert_pair(seed: int = 3, experts: Experts = EXPERTS) -> ModelPair:
    """Return `tiny_pair` with experts in the place of the MLPs, random router scales and a sharp router."""
    pair = tiny_pair(seed, "PanguEmbedded", head_dim=16)
    teacher = replace(pair.teacher, model_type="PanguProMoE", experts=experts)
    random, weights = torch.Generator().manual_seed(seed), {}
    for name, shape in teacher_shapes(teacher).items():
        if ".mlp." not in name:
            weights[name] = pair.teacher_weights[name]
        elif name.endswith("router_scale"):
            weights[name] = 1 + 0.3 * torch.randn(shape, generator=random)
        else:
            gain = 0.5 if "down_proj" in name else 1.0
            weights[name] = torch.randn(shape, generator=random) * gain * shape[1] ** -0.5
    return replace(pair, teacher=teacher, teacher_weights=weights)
