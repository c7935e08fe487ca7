"""Rung 2: the whole tree in one forward with a dense `visible`, no cache. The rung that judges by default."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from reference import drafter, teacher
from reference.model import ReferenceModels
from reference.search import DraftAttention
from reference.teacher import TeacherRows
from reference.visible import beside, causal, near
from tracing.settings import DecodeSettings
from tracing.stages import BoolArray, IntArray


@dataclass(frozen=True, slots=True)
class MaskedRows:
    """All drafter rows so far; the last B of them are the live beams (`reference.search.Rows`).

    Attributes:
        token_ids, position_ids: int64 `[R]`.
        inputs: Feature of each row, `[R, hidden]`.
        visible: Rows that each live beam descends from, itself included, `[B, R]`; no window in it.
        hidden: What the live beams made of it, `[B, hidden]`.
    """

    models: ReferenceModels
    window: int
    token_ids: Tensor
    position_ids: Tensor
    inputs: Tensor
    visible: Tensor
    hidden: Tensor
    logprobs: Tensor
    committed_kv: Tensor
    seen: DraftAttention | None


def prefill(models: ReferenceModels, prompt_token_ids: Iterable[int]) -> TeacherRows:
    """Run the teacher over the prompt; logits of the last row only, `[1, V]`."""
    token_ids = models.tokens(prompt_token_ids)
    position_ids = torch.arange(len(token_ids), device=models.device)
    visible = causal(len(token_ids), models.teacher.sliding_window, models.device)
    return teacher.forward(models, token_ids, position_ids, visible, num_logits=1)


def begin_draft(
    models: ReferenceModels,
    committed_token_ids: Iterable[int],
    root: int,
    features: Tensor,
    settings: DecodeSettings,
) -> MaskedRows:
    """Run the drafter over the committed rows: row j pairs feature j with token j + 1, the last the root."""
    token_ids = models.tokens([*committed_token_ids, root])[1:]
    inputs = drafter.fuse_features(models, models.floats(features))
    position_ids = torch.arange(len(token_ids), device=models.device)
    visible = torch.ones(1, len(token_ids), dtype=torch.bool, device=models.device)
    return _run(
        models=models,
        window=settings.window,
        token_ids=token_ids,
        position_ids=position_ids,
        inputs=inputs,
        visible=visible,
        committed_kv=None,
    )


def expand(rows: MaskedRows, parent_beams: IntArray, token_ids: IntArray) -> MaskedRows:
    """Append one row per beam, one position after its parent; it sees what its parent sees, and itself."""
    parents = torch.as_tensor(parent_beams, device=rows.models.device)
    num_live = len(rows.hidden)
    itself = torch.eye(len(parents), dtype=torch.bool, device=rows.models.device)
    return _run(
        models=rows.models,
        window=rows.window,
        token_ids=torch.cat([rows.token_ids, rows.models.tokens(token_ids)]),
        position_ids=torch.cat([rows.position_ids, rows.position_ids[-num_live:][parents] + 1]),
        inputs=torch.cat([rows.inputs, rows.hidden[parents]]),
        visible=beside(rows.visible[parents], itself),
        committed_kv=rows.committed_kv,
    )


def _run(
    *,
    models: ReferenceModels,
    window: int,
    token_ids: Tensor,
    position_ids: Tensor,
    inputs: Tensor,
    visible: Tensor,
    committed_kv: Tensor | None,
) -> MaskedRows:
    """Run the drafter over all rows from scratch; the last B of them ask."""
    query_positions = position_ids[-len(visible) :]
    attended = visible & near(query_positions, position_ids, window)
    out = drafter.forward(models, token_ids, inputs, position_ids, attended)
    return MaskedRows(
        models=models,
        window=window,
        token_ids=token_ids,
        position_ids=position_ids,
        inputs=inputs,
        visible=visible,
        hidden=out.hidden,
        logprobs=out.logprobs,
        committed_kv=out.kv if committed_kv is None else committed_kv,
        seen=DraftAttention(out.query, out.kv[0, 0], query_positions, position_ids, attended),
    )


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
        visible: bool `[N, N]`, the tree block; pads see the prefix only, and nobody sees them.

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
            beside(causal(num_committed, window, models.device), prefix_sees_nodes),
            beside(nodes_see_prefix, nodes_see_nodes),
        ]
    )
    all_tokens = torch.cat([committed, models.tokens(token_ids)])
    return teacher.forward(models, all_tokens, positions, all_visible, num_logits=num_nodes)
