"""EAGLE-3 on the masked rung: all rows from scratch at each level, under a dense `visible`. No cache."""

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


def begin(models: ReferenceModels, context: DraftContext, settings: DecodeSettings) -> MaskedRows:
    """Run the drafter over the committed rows: row j pairs feature j with token j + 1, the last the root."""
    token_ids = models.tokens([*context.token_ids, context.root])[1:]
    inputs = fuse_features(models, models.floats(context.features))
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
        visible=side_by_side(rows.visible[parents], itself),
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
    out = forward(models, token_ids, inputs, position_ids, attended)
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
