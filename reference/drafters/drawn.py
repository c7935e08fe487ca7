"""A drawn draft by the reference: the law that each node's token was drawn from, level by level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from reference.drafters.seam import DraftScore, Score
from reference.model import ReferenceModels
from reference.sampling.chooser import host
from reference.sampling.rules import without
from reference.sampling.warp import law_of
from reference.search import DraftContext, Search
from tracing.settings import DRAWN_DRAFTS, DecodeSettings
from tracing.stages import Drafted


def drawn_by(searches: Mapping[str, Search[Any]]) -> Score:
    """Return how a drafter that scores candidates scores what it has drawn."""

    def score(
        models: ReferenceModels,
        rung: str,
        context: DraftContext,
        settings: DecodeSettings,
        drafted: Drafted,
    ) -> DraftScore | None:
        if settings.acceptance not in DRAWN_DRAFTS or len(drafted.token_ids) < 2:
            return None
        return _scored(searches[rung], searches[rung].begin(models, context, settings), settings, drafted)

    return score


def _scored(search: Search[Any], rows: Any, settings: DecodeSettings, drafted: Drafted) -> DraftScore | None:
    """Return the scores and laws of a drawn draft, a row a node; None where parents do not come first.

    Without replacement, a node's law is that of its parent without the siblings before it.
    """
    tokens, parents = drafted.token_ids.tolist(), drafted.parents.tolist()
    logprobs: list[Any] = [None] * len(tokens)
    laws: list[Any] = [None] * len(tokens)
    live = [0]
    while live:
        below = [node for node in range(1, len(tokens)) if parents[node] in live and node not in live]
        for node in below:
            row = rows.logprobs[live.index(parents[node])]
            law = law_of(host(row), settings)
            if settings.acceptance == "rsd":
                for sibling in range(1, node):
                    if parents[sibling] == parents[node]:
                        law = without(law, tokens[sibling])
            logprobs[node], laws[node] = row, torch.as_tensor(law)
        inner = [node for node in below if node in parents[node + 1 :]]
        if inner:
            places = np.array([live.index(parents[node]) for node in inner], dtype=np.int64)
            rows = search.expand(rows, places, np.array([tokens[node] for node in inner], dtype=np.int64))
        live = inner
    if any(law is None for law in laws[1:]):
        return None
    return DraftScore(
        torch.stack(logprobs[1:]),
        np.arange(len(tokens), dtype=np.int64) - 1,
        law=torch.stack(laws[1:]),
        committed_kv=rows.committed_kv,
    )
