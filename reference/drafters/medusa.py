"""Medusa in the reference: each head by itself, each node by its path of ranks."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from reference.arithmetic import at_least_float32, linear
from reference.drafters.seam import DraftScore, Proposal, ReferenceDrafter
from reference.model import ReferenceModels
from reference.search import DraftContext, best
from tracing.settings import DecodeSettings
from tracing.stages import Drafted, IntArray, StageWatch
from tracing.static_tree import static_tree


@torch.no_grad()
def head_logprobs(models: ReferenceModels, hidden: Tensor) -> Tensor:
    """Return the log-probabilities of each head over the draft vocabulary, `[heads, Vd]`.

    Args:
        models: Weights and arithmetic; the drafter's configuration is a `tracing.models.MedusaConfig`.
        hidden: Final hidden state of the last committed token, `[H]`.
    """
    config, weights, arithmetic = models.drafter, models.drafter_weights, models.arithmetic
    rows = []
    for head in range(config.num_heads):
        x = hidden
        for layer in range(config.num_layers):
            changed = linear(x, weights, f"blocks.{head}.layers.{layer}", arithmetic)
            x = x + torch.nn.functional.silu(changed)
        logits = linear(x, weights, config.head(head), arithmetic)
        logits = logits.to(at_least_float32(logits.dtype)) * config.logit_scale
        rows.append(torch.log_softmax(logits, dim=-1))
    return torch.stack(rows)


def _propose(
    models: ReferenceModels, _rung: str, context: DraftContext, settings: DecodeSettings, _watch: StageWatch
) -> Proposal:
    rows = head_logprobs(models, models.floats(context.features)[-1])
    ranked = [best(row, len(row)) for row in rows.float().cpu().numpy()]
    paths = static_tree(settings.static_tree)
    tokens, scores = [context.root], [0.0]
    for path in paths:
        head = len(path) - 1
        draft_id = int(ranked[head][path[-1]])
        above = 0 if head == 0 else 1 + paths.index(path[:-1])
        tokens.append(int(models.target_from_draft[draft_id]))
        scores.append(scores[above] + float(rows[head, draft_id]))
    return Proposal(
        Drafted(
            token_ids=np.array(tokens, dtype=np.int64),
            parents=tree_parents(settings),
            logprobs=np.array(scores, dtype=np.float32),
            proposer="medusa",
        )
    )


def tree_parents(settings: DecodeSettings) -> IntArray:
    """Return the parent of each node of the static tree, int64 `[T]`; of the root the root."""
    paths = static_tree(settings.static_tree)
    above = [0 if len(path) == 1 else 1 + paths.index(path[:-1]) for path in paths]
    return np.array([0, *above], dtype=np.int64)


def _score(
    models: ReferenceModels, _rung: str, context: DraftContext, settings: DecodeSettings, drafted: Drafted
) -> DraftScore:
    """Score the nodes of a draft by the head of their depth; the tree and the ranks are the static tree's."""
    depths = [0]
    for node, parent in enumerate(drafted.parents.tolist()[1:], start=1):
        depths.append(depths[parent] + 1 if 0 <= parent < node else 0)
    row_of = np.array(depths, dtype=np.int64) - 1
    num_heads = models.drafter.num_heads
    return DraftScore(
        head_logprobs(models, models.floats(context.features)[-1]),
        np.where(row_of < num_heads, row_of, -1),
        parents=tree_parents(settings),
        ranks=np.array([0, *(path[-1] for path in static_tree(settings.static_tree))], dtype=np.int64),
    )


MEDUSA: Final = ReferenceDrafter(_propose, score=_score, settings=("static_tree",))
