"""Rung 2: the whole tree in one forward with a dense `visible`, no cache. The rung that judges by default."""

from __future__ import annotations

from collections.abc import Iterable

import torch
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
) -> TeacherRows:
    """Run the teacher over committed tokens and tree at once; every node sees the prefix and `visible`.

    Args:
        models: Weights and arithmetic.
        committed_token_ids: L tokens.
        token_ids: Of the nodes, `[N]`.
        position_ids: Of the nodes, `[N]`.
        visible: bool `[N, N]`, the tree block; pads see the prefix only, and no node sees them.

    Returns:
        Rows of the N nodes; `visible` `[N, L + N]`.
    """
    rows = verify_with_prefix(models, committed_token_ids, token_ids, position_ids, visible)
    num_nodes = len(token_ids)
    return TeacherRows(
        rows.logits, rows.features[-num_nodes:], rows.kv[:, :, :, -num_nodes:], rows.visible[-num_nodes:]
    )


def verify_with_prefix(
    models: ReferenceModels,
    committed_token_ids: Iterable[int],
    token_ids: IntArray,
    position_ids: IntArray,
    visible: BoolArray,
) -> TeacherRows:
    """As `verify`, but features and keys and values of all L + N rows; logits of the N nodes."""
    committed = models.tokens(committed_token_ids)
    num_committed, num_nodes = len(committed), len(token_ids)
    node_positions, nodes_see = tree_rows(position_ids, visible, num_committed, models.device)
    positions = torch.cat([torch.arange(num_committed, device=models.device), node_positions])
    prefix_sees = functional.pad(causal(num_committed, None, models.device), (0, num_nodes))
    all_visible = torch.cat([prefix_sees, nodes_see])
    all_tokens = torch.cat([committed, models.tokens(token_ids)])
    return teacher.forward(models, all_tokens, positions, all_visible, num_logits=num_nodes)
