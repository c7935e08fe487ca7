"""Rung 2: the whole tree in one forward with a dense `visible`, no cache."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from reference import teacher
from reference.model import ReferenceModels
from reference.teacher import TeacherRows
from reference.visible import causal, tree_rows
from tracing.stages import BoolArray, IntArray


def verify(
    models: ReferenceModels,
    committed_token_ids: Iterable[int],
    token_ids: IntArray,
    position_ids: IntArray,
    visible: BoolArray,
    *,
    chosen: Tensor | None = None,
) -> TeacherRows:
    """Run the teacher over committed tokens and tree at once; every node sees the prefix and `visible`.

    Args:
        models: Weights and arithmetic.
        committed_token_ids: L tokens.
        token_ids: Of the nodes, `[N]`.
        position_ids: Of the nodes, `[N]`.
        visible: bool `[N, N]`, the tree block; pads see the prefix only, and no node sees them.
        chosen: Experts that have to work, `[layers, L + N, num_groups]`, as `reference.teacher.forward`.

    Returns:
        Rows of the N nodes; `visible` `[N, L + N]`.
    """
    rows = verify_with_prefix(models, committed_token_ids, token_ids, position_ids, visible, chosen=chosen)
    num_nodes = len(token_ids)
    return replace(
        rows,
        features=rows.features[-num_nodes:],
        kv=rows.kv[:, :, :, -num_nodes:],
        visible=rows.visible[-num_nodes:],
    )


def verify_with_prefix(
    models: ReferenceModels,
    committed_token_ids: Iterable[int],
    token_ids: IntArray,
    position_ids: IntArray,
    visible: BoolArray,
    *,
    past_kv: Tensor | None = None,
    chosen: Tensor | None = None,
) -> TeacherRows:
    """As `verify`, but features and keys and values of all rows that run; logits of the N nodes.

    All L + N rows run, or those behind `past_kv`, the keys and values of the first S <= L tokens.
    """
    committed = models.tokens(committed_token_ids)
    num_past = 0 if past_kv is None else past_kv.shape[3]
    num_committed, num_nodes = len(committed), len(token_ids)
    node_positions, nodes_see = tree_rows(position_ids, visible, num_committed, models.device)
    prefix_positions = torch.arange(num_past, num_committed, device=models.device)
    prefix_sees = functional.pad(causal(num_committed, None, models.device)[num_past:], (0, num_nodes))
    return teacher.forward(
        models,
        torch.cat([committed[num_past:], models.tokens(token_ids)]),
        torch.cat([prefix_positions, node_positions]),
        torch.cat([prefix_sees, nodes_see]),
        past_kv=past_kv,
        num_logits=num_nodes,
        chosen=None if chosen is None else chosen[:, num_past:],
    )
