"""Prompt lookup in the reference: what followed the last tokens when they came before, as a chain.

Two public rules, told apart by their corners (a continuation at the end of the text, end-of-sequence tokens,
the limit); written as they are defined, one comparison at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Final

import numpy as np

from reference.drafters.seam import Proposal, ReferenceDrafter
from reference.model import ReferenceModels
from reference.search import DraftContext
from tracing.settings import LOOKUP_SETTINGS, DecodeSettings
from tracing.stages import Drafted, StageWatch


def _propose(
    models: ReferenceModels, _rung: str, context: DraftContext, settings: DecodeSettings, _watch: StageWatch
) -> Proposal:
    token_ids = [*context.token_ids, context.root]
    limit, eos = models.teacher.max_position_embeddings, models.pair.eos_token_ids
    proposed = RULES[settings.lookup_rule](token_ids, settings, limit, eos)
    return Proposal(
        Drafted(
            token_ids=np.array([context.root, *proposed], dtype=np.int64),
            parents=np.array([0, *range(len(proposed))], dtype=np.int64),
            proposer="lookup",
        )
    )


def transformers_rule(
    token_ids: Sequence[int], settings: DecodeSettings, limit: int, eos: Set[int]
) -> list[int]:
    """Return the tokens that `transformers`' prompt lookup proposes after a text.

    Args:
        token_ids: The text, the root last.
        settings: `tree_nodes` - 1 tokens are proposed at most; `lookup_max` bounds the n-gram.
        limit: Most tokens of a text (`max_length`).
        eos: Tokens that end a text; none is proposed, nor what follows it.
    """
    length, count = len(token_ids), settings.tree_nodes - 1
    if limit == length + 1:
        return []
    for size in range(min(settings.lookup_max, length - 1), 0, -1):
        ending = list(token_ids[length - size :])
        for start in range(length - size):
            if list(token_ids[start : start + size]) != ending:
                continue
            after = start + size
            continuation = list(token_ids[after : min(after + count, length, limit)])
            if continuation:
                return _before_the_first(eos, continuation)
    return []


def vllm_rule(token_ids: Sequence[int], settings: DecodeSettings, limit: int, _eos: Set[int]) -> list[int]:
    """Return the tokens that vLLM's n-gram proposer proposes after a text; arguments as above."""
    length = len(token_ids)
    count = min(settings.tree_nodes - 1, limit - length)
    for size in range(min(settings.lookup_max, length - 1), settings.lookup_min - 1, -1):
        ending = list(token_ids[length - size :])
        for start in range(length - size):
            if list(token_ids[start : start + size]) == ending:
                after = start + size
                return list(token_ids[after : after + max(count, 0)])
    return []


def _before_the_first(stops: Set[int], token_ids: list[int]) -> list[int]:
    for place, token_id in enumerate(token_ids):
        if token_id in stops:
            return token_ids[:place]
    return token_ids


Rule = Callable[[Sequence[int], DecodeSettings, int, Set[int]], list[int]]

RULES: Final[Mapping[str, Rule]] = {"transformers": transformers_rule, "vllm": vllm_rule}

LOOKUP: Final = ReferenceDrafter(_propose, settings=LOOKUP_SETTINGS, is_exact=True, is_chain=True)
