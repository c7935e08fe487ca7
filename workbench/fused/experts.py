"""Experts in groups: rows are sorted by expert, each expert multiplies its rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tracing.models import Experts
from workbench.fused.gated_mlp import GatedMlp
from workbench.fused.linear import Linear
from workbench.fused.operators import Operators
from workbench.fused.seen import Seen


class LayerRouting(NamedTuple):
    """Logits of a layer's router, `[R, experts]`, and the experts that work, int64 `[R, num_groups]`."""

    logits: Tensor
    expert_ids: Tensor


def routing_results(layers: Sequence[LayerRouting]) -> dict[str, Any]:
    """Return what results of prefill and verify say of experts, by field; nothing without any."""
    if not layers:
        return {}
    ids = torch.stack([layer.expert_ids for layer in layers]).cpu().numpy()
    num_experts = layers[0].logits.shape[-1]
    return {
        "expert_ids": ids,
        "expert_loads": np.stack([np.bincount(each.ravel(), minlength=num_experts) for each in ids]),
        "router_logits": torch.stack([layer.logits for layer in layers]),
    }


class _GatedWeights(nn.Module):
    """Weights of one SwiGLU, under their names in a checkpoint."""

    def __init__(self, hidden: int, inner: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden, inner, bias=False, dtype=dtype)
        self.up_proj = nn.Linear(hidden, inner, bias=False, dtype=dtype)
        self.down_proj = nn.Linear(inner, hidden, bias=False, dtype=dtype)


class ExpertWeights(nn.Module):
    """Weights of router and experts of a layer, under their names in a checkpoint."""

    def __init__(self, hidden: int, experts: Experts, dtype: torch.dtype) -> None:
        super().__init__()
        self.num_groups = experts.num_groups
        self.gate = nn.Linear(hidden, experts.num_experts, bias=False, dtype=dtype)
        self.router_scale = nn.Parameter(torch.ones(1, experts.num_experts, dtype=dtype))
        self.experts = nn.ModuleList(
            _GatedWeights(hidden, experts.width, dtype) for _ in range(experts.num_experts)
        )
        self.shared_expert = _GatedWeights(hidden, experts.shared_width, dtype)


def place_experts(model: nn.Module, experts: Experts, dtype: torch.dtype) -> None:
    """Give every layer of an empty model experts, without memory, in the place of its MLP."""
    base: Any = model.model
    with torch.device("meta"):
        for layer in base.layers:
            layer.mlp = ExpertWeights(layer.mlp.gate_proj.in_features, experts, dtype)


class ExpertsMlp(nn.Module):
    """Router, the chosen experts of each row, and the shared expert."""

    def __init__(self, source: Any, operators: Operators, *, pack: bool) -> None:
        super().__init__()
        self.gate = Linear(source.gate.weight, pack=pack)
        self.router_scale: Tensor = source.router_scale.detach()[0]
        self.num_groups: int = source.num_groups
        self.experts = [GatedMlp(each, operators, pack=pack) for each in source.experts]
        self.shared = GatedMlp(source.shared_expert, operators, pack=pack)

    def forward(self, hidden_states: Tensor, seen: Seen | None, routing: list[LayerRouting]) -> Tensor:
        """Return the weighted sum of the chosen experts, and the shared one, `[1, R, hidden]`.

        Args:
            hidden_states: Normed rows, `[1, R, hidden]`.
            seen: Where what enters and leaves is told, or None.
            routing: Takes the router's logits and the experts that work.
        """
        rows = hidden_states.flatten(0, 1)
        logits = self.gate(rows)
        ids, weights = routed(logits, self.router_scale, self.num_groups)
        routing.append(LayerRouting(logits, ids))
        order = ids.flatten().argsort(stable=True)
        counts = torch.bincount(ids.flatten(), minlength=len(self.experts)).tolist()
        sources = order // self.num_groups
        parts = torch.split(rows[sources], counts)
        own = [expert(part[None])[0] for expert, part in zip(self.experts, parts, strict=True) if len(part)]
        weighed = torch.cat(own).float() * weights.flatten()[order, None]
        summed = torch.zeros_like(rows, dtype=torch.float32).index_add_(0, sources, weighed)
        moved: Tensor = summed.to(rows.dtype).view_as(hidden_states) + self.shared(hidden_states)
        if seen is not None:
            seen(mlp_norm=hidden_states, mlp_output=moved)
        return moved


def routed(logits: Tensor, router_scale: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """Return the best expert of each group and what weighs it, int64 and float32 `[R, num_groups]`.

    Args:
        logits: Of the router, `[R, experts]`.
        router_scale: Factor on each expert's score, `[experts]`.
        num_groups: Groups of equal size; of equal scores in one the first is taken.
    """
    scores = torch.softmax(logits.float(), dim=-1)
    best = scores.view(len(scores), num_groups, -1).max(dim=-1)
    size = scores.shape[-1] // num_groups
    ids = best.indices + torch.arange(num_groups, device=scores.device) * size
    return ids, best.values * router_scale.float()[ids]
