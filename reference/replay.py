"""Rung 1: every node's path as an ordinary causal sequence. No tree, no cache, no position arithmetic."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from reference.experts import Routing
from reference.model import ReferenceModels
from reference.teacher import TeacherRows, prefill
from tracing.stages import BoolArray, IntArray


def verify(
    models: ReferenceModels,
    committed_token_ids: Iterable[int],
    token_ids: IntArray,
    position_ids: IntArray,  # noqa: ARG001  the place in the path is the position, that is the point of this rung
    visible: BoolArray,
    *,
    nodes: Iterable[int] | None = None,
    chosen: Tensor | None = None,
) -> TeacherRows:
    """Run the teacher on committed tokens + path of each node; a path is the nodes that the node sees.

    Args:
        models: Weights and arithmetic.
        committed_token_ids: L tokens.
        token_ids: `[N]`.
        position_ids: Not used: the place in the sequence is the position.
        visible: bool `[N, N]`; the nodes that node i sees, in ascending order, are its path, itself last.
        nodes: Only these nodes; the rows of all others, as those of pads, are zero.
        chosen: Experts that have to work, `[layers, L + N, num_groups]`, as `reference.teacher.forward`.
    """
    committed = [int(token_id) for token_id in committed_token_ids]
    num_committed, num_nodes = len(committed), len(token_ids)
    rows = _empty_rows(models, num_committed, num_nodes)
    for node in range(num_nodes) if nodes is None else nodes:
        path = [other for other in range(num_nodes) if visible[node, other]]
        if not path or path[-1] != node:
            continue
        places = [*range(num_committed), *(num_committed + i for i in path)]
        forced = None if chosen is None else chosen[:, places]
        alone = prefill(models, [*committed, *(token_ids[i] for i in path)], chosen=forced)
        rows.logits[node] = alone.logits[0]
        rows.features[node] = alone.features[-1]
        rows.kv[:, :, :, node] = alone.kv[:, :, :, -1]
        rows.visible[node, :num_committed] = alone.visible[-1, :num_committed]
        rows.visible[node, [num_committed + i for i in path]] = alone.visible[-1, num_committed:]
        if rows.routing is not None and alone.routing is not None:
            rows.routing.logits[:, places] = alone.routing.logits
            rows.routing.expert_ids[:, places] = alone.routing.expert_ids
    return rows


def _empty_rows(models: ReferenceModels, num_committed: int, num_nodes: int) -> TeacherRows:
    config = models.teacher

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(*shape, dtype=models.dtype, device=models.device)

    return TeacherRows(
        logits=zeros(num_nodes, config.vocab_size),
        features=zeros(num_nodes, models.pair.feature_width),
        kv=zeros(config.num_layers, 2, config.num_kv_heads, num_nodes, config.head_dim),
        visible=torch.zeros(num_nodes, num_committed + num_nodes, dtype=torch.bool, device=models.device),
        routing=_empty_routing(models, num_committed + num_nodes),
    )


def _empty_routing(models: ReferenceModels, num_rows: int) -> Routing | None:
    experts, num_layers = models.teacher.experts, models.teacher.num_layers
    if experts is None:
        return None
    firsts = torch.arange(experts.num_groups, device=models.device) * experts.group_size
    return Routing(
        torch.zeros(num_layers, num_rows, experts.num_experts, dtype=models.dtype, device=models.device),
        firsts.repeat(num_layers, num_rows, 1),
    )
