"""EAGLE-3 on the replay rung: every beam as a causal sequence of its own. No tree, no cache."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reference.drafters.eagle3_network import DrafterRows, forward, fuse_features
from reference.model import ReferenceModels
from reference.search import DraftAttention, DraftContext
from reference.visible import causal, narrower
from tracing.settings import DecodeSettings
from tracing.stages import IntArray


@dataclass(frozen=True, slots=True)
class Chain:
    """One beam's own sequence of drafter rows.

    Attributes:
        token_ids: int64 `[R]`, row j's token comes one place after row j's feature.
        inputs: Feature of each row, `[R, hidden]`.
        hidden: What the last row made of it, `[1, hidden]`: the next row's feature.
    """

    token_ids: Tensor
    inputs: Tensor
    hidden: Tensor


@dataclass(frozen=True, slots=True)
class ReplayRows:
    """The live beams, each with its own sequence (`reference.search.Rows`)."""

    models: ReferenceModels
    window: int
    chains: tuple[Chain, ...]
    logprobs: Tensor
    committed_kv: Tensor
    seen: DraftAttention | None = None


def begin(models: ReferenceModels, context: DraftContext, settings: DecodeSettings) -> ReplayRows:
    """Run the drafter over the committed rows: row j pairs feature j with token j + 1, the last the root."""
    token_ids = models.tokens([*context.token_ids, context.root])[1:]
    inputs = fuse_features(models, models.floats(context.features))
    window = narrower(settings.window, models.drafter.window)
    out = _last_row(models, token_ids, inputs, window)
    chain = Chain(token_ids, inputs, out.hidden)
    return ReplayRows(models, window, (chain,), out.logprobs, out.kv)


def expand(rows: ReplayRows, parent_beams: IntArray, token_ids: IntArray) -> ReplayRows:
    """Extend each beam's sequence by one row: the drafter's own last feature and the beam's token."""
    chains: list[Chain] = []
    logprobs: list[Tensor] = []
    for parent, token_id in zip(parent_beams, rows.models.tokens(token_ids), strict=True):
        before = rows.chains[int(parent)]
        tokens = torch.cat([before.token_ids, token_id[None]])
        inputs = torch.cat([before.inputs, before.hidden])
        out = _last_row(rows.models, tokens, inputs, rows.window)
        chains.append(Chain(tokens, inputs, out.hidden))
        logprobs.append(out.logprobs)
    return ReplayRows(rows.models, rows.window, tuple(chains), torch.cat(logprobs), rows.committed_kv)


def _last_row(models: ReferenceModels, token_ids: Tensor, inputs: Tensor, window: int) -> DrafterRows:
    num_rows = len(token_ids)
    visible = causal(num_rows, window, models.device)[-1:]
    return forward(models, token_ids, inputs, torch.arange(num_rows, device=models.device), visible)
