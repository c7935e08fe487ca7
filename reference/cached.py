"""Rung 3: the same tree over cached keys and values, compacted at commit. What a 7B can afford."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from reference import drafter, teacher
from reference.model import ReferenceModels
from reference.search import DraftAttention
from reference.teacher import TeacherRows
from reference.visible import beside, near
from tracing.settings import DecodeSettings
from tracing.stages import BoolArray, IntArray


@dataclass(frozen=True, slots=True)
class CachedRows:
    """Cached drafter rows; the last B of them are the live beams (`reference.search.Rows`).

    Attributes:
        num_committed: L, rows before the tree.
        kv: Of all rows so far, `[1, 2, kv_heads, R, D]`.
        position_ids: int64 `[R]`.
        visible: Rows that each live beam descends from, itself included, `[B, R]`; no window in it.
        hidden: What the live beams made of it, `[B, hidden]`.
    """

    models: ReferenceModels
    window: int
    num_committed: int
    kv: Tensor
    position_ids: Tensor
    visible: Tensor
    hidden: Tensor
    logprobs: Tensor
    seen: DraftAttention | None

    @property
    def committed_kv(self) -> Tensor:
        """Keys and values of the committed rows, `[1, 2, kv_heads, L, D]`."""
        return self.kv[:, :, :, : self.num_committed]


def prefill(models: ReferenceModels, prompt_token_ids: Iterable[int]) -> TeacherRows:
    """Run the teacher over the prompt; logits of the last row only, `[1, V]`."""
    return extend(models, None, prompt_token_ids)


def extend(models: ReferenceModels, past_kv: Tensor | None, token_ids: Iterable[int]) -> TeacherRows:
    """Run the teacher over R tokens that follow the S cached ones; logits of the last row only, `[1, V]`."""
    tokens = models.tokens(token_ids)
    num_past = 0 if past_kv is None else past_kv.shape[3]
    key_positions = torch.arange(num_past + len(tokens), device=models.device)
    positions = key_positions[num_past:]
    visible = key_positions[None, :] <= positions[:, None]
    visible = visible & near(positions, key_positions, models.teacher.sliding_window)
    return teacher.forward(models, tokens, positions, visible, past_kv=past_kv, num_logits=1)


def begin_draft(
    models: ReferenceModels,
    committed_token_ids: Iterable[int],
    root: int,
    features: Tensor,
    settings: DecodeSettings,
    *,
    past_kv: Tensor | None = None,
) -> CachedRows:
    """Run the drafter over the committed rows that are not cached yet, at least the last.

    Args:
        models: Weights and arithmetic.
        committed_token_ids: L tokens.
        root: Token at position L.
        features: Of all committed tokens, `[L, 3 * H_target]`.
        settings: For the window.
        past_kv: Drafter keys and values of the first S < L rows, `[1, 2, kv_heads, S, D]`.
    """
    num_past = 0 if past_kv is None else past_kv.shape[3]
    token_ids = models.tokens([*committed_token_ids, root])[1:]
    position_ids = torch.arange(len(token_ids), device=models.device)
    return _run(
        models=models,
        window=settings.window,
        num_committed=len(token_ids),
        past_kv=past_kv,
        position_ids=position_ids,
        token_ids=token_ids[num_past:],
        inputs=drafter.fuse_features(models, models.floats(features)[num_past:]),
        visible=torch.ones(1, len(token_ids), dtype=torch.bool, device=models.device),
    )


def expand(rows: CachedRows, parent_beams: IntArray, token_ids: IntArray) -> CachedRows:
    """Append one row per beam, one position after its parent; it sees what its parent sees, and itself."""
    parents = torch.as_tensor(parent_beams, device=rows.models.device)
    num_live = len(rows.hidden)
    itself = torch.eye(len(parents), dtype=torch.bool, device=rows.models.device)
    return _run(
        models=rows.models,
        window=rows.window,
        num_committed=rows.num_committed,
        past_kv=rows.kv,
        position_ids=torch.cat([rows.position_ids, rows.position_ids[-num_live:][parents] + 1]),
        token_ids=rows.models.tokens(token_ids),
        inputs=rows.hidden[parents],
        visible=beside(rows.visible[parents], itself),
    )


def _run(
    *,
    models: ReferenceModels,
    window: int,
    num_committed: int,
    past_kv: Tensor | None,
    position_ids: Tensor,
    token_ids: Tensor,
    inputs: Tensor,
    visible: Tensor,
) -> CachedRows:
    """Run the drafter over the new rows only; the last B of them ask."""
    query_positions = position_ids[-len(visible) :]
    attended = visible & near(query_positions, position_ids, window)
    new_positions = position_ids[-len(token_ids) :]
    out = drafter.forward(models, token_ids, inputs, new_positions, attended, past_kv=past_kv)
    kv = out.kv if past_kv is None else torch.cat([past_kv, out.kv], dim=3)
    return CachedRows(
        models=models,
        window=window,
        num_committed=num_committed,
        kv=kv,
        position_ids=position_ids,
        visible=visible,
        hidden=out.hidden,
        logprobs=out.logprobs,
        seen=DraftAttention(out.query, kv[0, 0], query_positions, position_ids, attended),
    )


def verify(
    models: ReferenceModels,
    committed_token_ids: Iterable[int],
    token_ids: IntArray,
    position_ids: IntArray,
    visible: BoolArray,
    *,
    prefix_kv: Tensor | None = None,
) -> TeacherRows:
    """Run the teacher over the tree only; every node sees the cached prefix and `visible`.

    Args:
        models: Weights and arithmetic.
        committed_token_ids: L tokens; read only where `prefix_kv` is not given.
        token_ids: Of the nodes, `[N]`.
        position_ids: Of the nodes, `[N]`.
        visible: bool `[N, N]`, the tree block; pads see the prefix only, and nobody sees them.
        prefix_kv: Keys and values of the committed tokens, `[layers, 2, kv_heads, L, D]`.

    Returns:
        Rows of the N nodes; `visible` `[N, L + N]`.
    """
    past_kv = prefill(models, committed_token_ids).kv if prefix_kv is None else prefix_kv
    window = models.teacher.sliding_window
    prefix_positions = torch.arange(past_kv.shape[3], device=models.device)
    positions = torch.as_tensor(position_ids, dtype=torch.int64, device=models.device)
    nodes_see_nodes = torch.as_tensor(visible, dtype=torch.bool, device=models.device)
    all_visible = beside(
        near(positions, prefix_positions, window), nodes_see_nodes & near(positions, positions, window)
    )
    return teacher.forward(models, models.tokens(token_ids), positions, all_visible, past_kv=past_kv)


def compact(prefix_kv: Tensor, node_kv: Tensor, nodes: IntArray) -> Tensor:
    """Return the cache of the next step: the prefix as it is, then the kept nodes in path order.

    Args:
        prefix_kv: `[layers, 2, kv_heads, L, D]`.
        node_kv: Of the tree, `[layers, 2, kv_heads, N, D]`.
        nodes: Root, then the accepted nodes, `[A + 1]`.
    """
    kept = torch.as_tensor(nodes, dtype=torch.int64, device=node_kv.device)
    return torch.cat([prefix_kv, node_kv[:, :, :, kept]], dim=3)
