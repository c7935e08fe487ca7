"""EAGLE-3 on the cached rung: new rows only, over cached keys and values."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reference.drafters.eagle3_network import forward, fuse_features
from reference.model import ReferenceModels
from reference.search import DraftAttention, DraftContext
from reference.visible import near, side_by_side
from tracing.settings import DecodeSettings
from tracing.stages import IntArray


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


def begin(models: ReferenceModels, context: DraftContext, settings: DecodeSettings) -> CachedRows:
    """Run the drafter over the committed rows that are not cached yet, at least the last."""
    past_kv = context.past_kv
    num_past = 0 if past_kv is None else past_kv.shape[3]
    token_ids = models.tokens([*context.token_ids, context.root])[1:]
    position_ids = torch.arange(len(token_ids), device=models.device)
    return _run(
        models=models,
        window=settings.window,
        num_committed=len(token_ids),
        past_kv=past_kv,
        position_ids=position_ids,
        token_ids=token_ids[num_past:],
        inputs=fuse_features(models, models.floats(context.features)[num_past:]),
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
        visible=side_by_side(rows.visible[parents], itself),
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
    out = forward(models, token_ids, inputs, new_positions, attended, past_kv=past_kv)
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
