"""Experts in groups: rows are sorted by expert and multiplied by groups, through the device's operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tracing.models import Experts
from workbench.fused.gated_mlp import GatedMlp
from workbench.fused.operators import Operators
from workbench.fused.quantised import QuantisedLinear
from workbench.fused.seen import Seen
from workbench.npu import dispatch
from workbench.npu.grouped_choice import grouped_choice as routed


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


class _Grouped:
    """Experts whose products go through the device's product by groups."""

    def __init__(self, experts: Sequence[Any], operators: Operators) -> None:
        both = [torch.cat((each.gate_proj.weight, each.up_proj.weight)) for each in experts]
        self._gate_and_up = torch.stack(both).detach().transpose(1, 2)
        self._down = torch.stack([each.down_proj.weight for each in experts]).detach().transpose(1, 2)
        self._operators = operators

    def __call__(self, rows: Tensor, counts: Tensor) -> Tensor:
        """Return what each expert gives for its rows, `[R * num_groups, hidden]`."""
        both = dispatch.npu_grouped_matmul(rows, self._gate_and_up, counts)
        return dispatch.npu_grouped_matmul(self._operators.swiglu(both), self._down, counts)


class _OneByOne:
    """Experts in int4, each through the product with quantised weights."""

    def __init__(self, experts: Sequence[Any], operators: Operators) -> None:
        self._experts = [GatedMlp(each, operators) for each in experts]

    def __call__(self, rows: Tensor, counts: Tensor) -> Tensor:
        """Return what each expert gives for its rows, `[R * num_groups, hidden]`."""
        parts = zip(self._experts, torch.split(rows, counts.tolist()), strict=True)
        return torch.cat([expert(part) for expert, part in parts if len(part)])


class ExpertsMlp:
    """Router, the chosen experts of each row, and the shared expert."""

    def __init__(self, source: Any, operators: Operators) -> None:
        self.gate = operators.products.of(source.gate.weight)
        self.router_scale: Tensor = source.router_scale.detach()[0]
        self.num_groups: int = source.num_groups
        self.num_experts = len(source.experts)
        is_int4 = isinstance(source.experts[0].gate_proj, QuantisedLinear)
        self.experts = (_OneByOne if is_int4 else _Grouped)(source.experts, operators)
        self.shared = GatedMlp(source.shared_expert, operators)

    def __call__(self, hidden_states: Tensor, seen: Seen | None, routing: list[LayerRouting]) -> Tensor:
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
        chosen = ids.int()
        sorted_rows, places, counts = dispatch.npu_moe_init_routing_v2(rows, chosen, self.num_experts)
        own = self.experts(sorted_rows, counts)
        summed = dispatch.npu_moe_finalize_routing(own, weights.to(own.dtype), places, chosen)
        moved: Tensor = summed.view_as(hidden_states) + self.shared(hidden_states)
        if seen is not None:
            seen(mlp_norm=hidden_states, mlp_output=moved)
        return moved
