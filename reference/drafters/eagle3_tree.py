"""EAGLE-3 on the masked and the cached rung: a tree of rows under a dense `visible`.

The masked rung runs all rows from scratch at each level; the cached rung runs only the new ones, over the
keys and values of the rows before them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reference.drafters.eagle3_network import forward, fuse_features
from reference.model import ReferenceModels
from reference.search import DraftAttention, DraftContext
from reference.visible import narrower, near
from tracing.settings import DecodeSettings
from tracing.stages import IntArray


@dataclass(frozen=True, slots=True)
class TreeRows:
    """All drafter rows so far, R; the last B of them are the live beams (`reference.search.Rows`).

    Attributes:
        reuses_kv: The next level runs over `kv`; False runs all rows again.
        token_ids: Of the rows that ran last, int64.
        inputs: Feature of each of these rows, `[.., hidden]`.
        position_ids: int64 `[R]`.
        visible: Rows that each live beam descends from, itself included, `[B, R]`; no window in it.
        hidden: What the live beams made of it, `[B, hidden]`.
        kv: Of all rows so far, `[1, 2, kv_heads, R, D]`.
    """

    models: ReferenceModels
    window: int
    reuses_kv: bool
    token_ids: Tensor
    inputs: Tensor
    position_ids: Tensor
    visible: Tensor
    hidden: Tensor
    logprobs: Tensor
    kv: Tensor
    committed_kv: Tensor
    seen: DraftAttention | None


def begin(
    models: ReferenceModels, context: DraftContext, settings: DecodeSettings, *, reuses_kv: bool
) -> TreeRows:
    """Run the committed rows that are not cached yet, at least the last.

    Row j pairs feature j with token j + 1, the last one with the root.
    """
    past_kv = context.past_kv if reuses_kv else None
    num_past = 0 if past_kv is None else past_kv.shape[3]
    token_ids = models.tokens([*context.token_ids, context.root])[1:]
    return _run(
        models=models,
        window=narrower(settings.window, models.drafter.window),
        reuses_kv=reuses_kv,
        past_kv=past_kv,
        token_ids=token_ids[num_past:],
        inputs=fuse_features(models, models.floats(context.features)[num_past:]),
        position_ids=torch.arange(len(token_ids), device=models.device),
        visible=torch.ones(1, len(token_ids), dtype=torch.bool, device=models.device),
        committed_kv=None,
    )


def begin_at(
    models: ReferenceModels, context: DraftContext, lengths: Sequence[int], settings: DecodeSettings
) -> TreeRows:
    """Run the committed rows of a context, and the row that proposes after each of its first lengths.

    A step that begins after L tokens has the rows 0 to L - 2 before it; row L - 1, which pairs feature L - 1
    with token L, asks. The drafter has one block, so a row is the same to all that see it.

    Args:
        models: Weights and arithmetic.
        context: The longest one.
        lengths: Committed tokens before each step, 1 to L.
        settings: Of the search.
    """
    num_past = 0 if context.past_kv is None else context.past_kv.shape[3]
    num_before, device = len(context.token_ids) - 1, models.device
    asking = torch.as_tensor([length - 1 for length in lengths], device=device)
    before = torch.arange(num_before, device=device)
    rows = torch.cat([before[num_past:], asking])
    itself = torch.eye(len(lengths), dtype=torch.bool, device=device)
    return _run(
        models=models,
        window=narrower(settings.window, models.drafter.window),
        reuses_kv=True,
        past_kv=context.past_kv,
        token_ids=models.tokens([*context.token_ids, context.root])[rows + 1],
        inputs=fuse_features(models, models.floats(context.features)[rows]),
        position_ids=torch.cat([before, asking]),
        visible=torch.cat([before[None, :] < asking[:, None], itself], dim=1),
        committed_kv=None,
    )


@dataclass(frozen=True, slots=True)
class NextBeams:
    """The rows of the next level before they are run, B of them.

    Attributes:
        token_ids, position_ids: int64 `[B]`.
        inputs: `[B, hidden]`.
        visible: bool `[B, R + B]`, the rows so far and then these.
    """

    token_ids: Tensor
    inputs: Tensor
    position_ids: Tensor
    visible: Tensor


def beams(rows: TreeRows, parent_beams: IntArray, token_ids: IntArray) -> NextBeams:
    """One row per beam, one position after its parent; it sees what its parent sees, and itself."""
    parents = torch.as_tensor(parent_beams, device=rows.models.device)
    itself = torch.eye(len(parents), dtype=torch.bool, device=rows.models.device)
    return NextBeams(
        token_ids=rows.models.tokens(token_ids),
        inputs=rows.hidden[parents],
        position_ids=rows.position_ids[-len(rows.hidden) :][parents] + 1,
        visible=torch.cat([rows.visible[parents], itself], dim=1),
    )


def expand(rows: TreeRows, parent_beams: IntArray, token_ids: IntArray) -> TreeRows:
    """Append one row per beam."""
    return append(rows, beams(rows, parent_beams, token_ids))


def append(rows: TreeRows, made: NextBeams) -> TreeRows:
    """Run the rows of the next level."""
    tokens, inputs = made.token_ids, made.inputs
    if not rows.reuses_kv:
        tokens, inputs = torch.cat([rows.token_ids, tokens]), torch.cat([rows.inputs, inputs])
    return _run(
        models=rows.models,
        window=rows.window,
        reuses_kv=rows.reuses_kv,
        past_kv=rows.kv if rows.reuses_kv else None,
        token_ids=tokens,
        inputs=inputs,
        position_ids=torch.cat([rows.position_ids, made.position_ids]),
        visible=made.visible,
        committed_kv=rows.committed_kv,
    )


def _run(
    *,
    models: ReferenceModels,
    window: int,
    reuses_kv: bool,
    past_kv: Tensor | None,
    token_ids: Tensor,
    inputs: Tensor,
    position_ids: Tensor,
    visible: Tensor,
    committed_kv: Tensor | None,
) -> TreeRows:
    """Run the rows behind `past_kv`; the last B of them ask."""
    query_positions = position_ids[-len(visible) :]
    attended = visible & near(query_positions, position_ids, window)
    out = forward(models, token_ids, inputs, position_ids[-len(token_ids) :], attended, past_kv=past_kv)
    kv = out.kv if past_kv is None else torch.cat([past_kv, out.kv], dim=3)
    return TreeRows(
        models=models,
        window=window,
        reuses_kv=reuses_kv,
        token_ids=token_ids,
        inputs=inputs,
        position_ids=position_ids,
        visible=visible,
        hidden=out.hidden,
        logprobs=out.logprobs,
        kv=kv,
        committed_kv=kv if committed_kv is None else committed_kv,
        seen=DraftAttention(out.query, kv[0, 0], query_positions, position_ids, attended),
    )
