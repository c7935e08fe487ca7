"""Rung 2: the whole tree in one forward with a dense `visible`, no cache. The rung that judges by default."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from reference import teacher
from reference.model import ReferenceModels
from reference.teacher import TeacherRows
from reference.visible import causal, near, side_by_side
from tracing.stages import BoolArray, IntArray


def prefill(models: ReferenceModels, prompt_token_ids: Iterable[int]) -> TeacherRows:
    """Run the teacher over the prompt; logits of the last row only, `[1, V]`."""
    token_ids = models.tokens(prompt_token_ids)
    position_ids = torch.arange(len(token_ids), device=models.device)
    visible = causal(len(token_ids), models.teacher.sliding_window, models.device)
    return teacher.forward(models, token_ids, position_ids, visible, num_logits=1)


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
    window = models.teacher.sliding_window
    prefix_positions = torch.arange(num_committed, device=models.device)
    node_positions = torch.as_tensor(position_ids, dtype=torch.int64, device=models.device)
    positions = torch.cat([prefix_positions, node_positions])
    nodes_see_nodes = torch.as_tensor(visible, dtype=torch.bool, device=models.device)
    nodes_see_nodes = nodes_see_nodes & near(node_positions, node_positions, window)
    nodes_see_prefix = near(node_positions, prefix_positions, window)
    prefix_sees_nodes = torch.zeros(num_committed, num_nodes, dtype=torch.bool, device=models.device)
    all_visible = torch.cat(
        [
            side_by_side(causal(num_committed, window, models.device), prefix_sees_nodes),
            side_by_side(nodes_see_prefix, nodes_see_nodes),
        ]
    )
    all_tokens = torch.cat([committed, models.tokens(token_ids)])
    return teacher.forward(models, all_tokens, positions, all_visible, num_logits=num_nodes)
