"""Rung 3: the same tree over cached keys and values, compacted at commit. What a 7B can afford."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from reference import teacher
from reference.model import ReferenceModels
from reference.teacher import TeacherRows, prefill
from reference.visible import tree_rows
from tracing.stages import BoolArray, IntArray


def extend(models: ReferenceModels, past_kv: Tensor, token_ids: Iterable[int]) -> TeacherRows:
    """Run the teacher over R tokens that follow the S cached ones; logits of the last row only, `[1, V]`."""
    tokens = models.tokens(token_ids)
    num_past = past_kv.shape[3]
    key_positions = torch.arange(num_past + len(tokens), device=models.device)
    positions = key_positions[num_past:]
    visible = key_positions[None, :] <= positions[:, None]
    return teacher.forward(models, tokens, positions, visible, past_kv=past_kv, num_logits=1)


def verify(
    models: ReferenceModels,
    committed_token_ids: Iterable[int],
    token_ids: IntArray,
    position_ids: IntArray,
    visible: BoolArray,
    *,
    prefix_kv: Tensor | None = None,
    chosen: Tensor | None = None,
) -> TeacherRows:
    """Run the teacher over the tree only; every node sees the cached prefix and `visible`.

    Args:
        models: Weights and arithmetic.
        committed_token_ids: L tokens; read only where `prefix_kv` is not given.
        token_ids: Of the nodes, `[N]`.
        position_ids: Of the nodes, `[N]`.
        visible: bool `[N, N]`, the tree block; pads see the prefix only, and no node sees them.
        prefix_kv: Keys and values of the committed tokens, `[layers, 2, kv_heads, L, D]`.
        chosen: Experts that have to work, `[layers, L + N, num_groups]`, as `reference.teacher.forward`.

    Returns:
        Rows of the N nodes; `visible` `[N, L + N]`; routing of L + N rows, of N where `prefix_kv` is given.
    """
    num_nodes, past_kv, before = len(token_ids), prefix_kv, None
    if past_kv is None:
        prefix = prefill(
            models, committed_token_ids, chosen=None if chosen is None else chosen[:, :-num_nodes]
        )
        past_kv, before = prefix.kv, prefix.routing
    positions, all_visible = tree_rows(position_ids, visible, past_kv.shape[3], models.device)
    rows = teacher.forward(
        models,
        models.tokens(token_ids),
        positions,
        all_visible,
        past_kv=past_kv,
        chosen=None if chosen is None else chosen[:, -num_nodes:],
    )
    if before is None or rows.routing is None:
        return rows
    return replace(rows, routing=before.followed_by(rows.routing))


def compact(prefix_kv: Tensor, node_kv: Tensor, nodes: IntArray) -> Tensor:
    """Return the cache of the next step: the prefix as it is, then the kept nodes in path order.

    Args:
        prefix_kv: `[layers, 2, kv_heads, L, D]`.
        node_kv: Of the tree, `[layers, 2, kv_heads, N, D]`.
        nodes: Root, then the accepted nodes, `[A + 1]`.
    """
    kept = torch.as_tensor(nodes, dtype=torch.int64, device=node_kv.device)
    return torch.cat([prefix_kv, node_kv[:, :, :, kept]], dim=3)
