"""Plain greedy decoding, one token at a time: what every speculative output has to equal."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from reference.cached import extend
from reference.model import ReferenceModels
from reference.teacher import prefill


def greedy_decode(
    models: ReferenceModels,
    prompt_token_ids: Sequence[int],
    max_new_tokens: int,
    eos_token_ids: Collection[int] | None = None,
) -> list[int]:
    """Return the teacher's own continuation, up to end of sequence or `max_new_tokens`.

    Args:
        models: Weights and arithmetic.
        prompt_token_ids: At least one token.
        max_new_tokens: At least 1.
        eos_token_ids: The pair's by default.
    """
    ends = models.pair.eos_token_ids if eos_token_ids is None else eos_token_ids
    rows = prefill(models, prompt_token_ids)
    kv, emitted = rows.kv, [int(rows.logits[0].argmax())]
    while len(emitted) < max_new_tokens and emitted[-1] not in ends:
        rows = extend(models, kv, emitted[-1:])
        kv = torch.cat([kv, rows.kv], dim=3)
        emitted.append(int(rows.logits[0].argmax()))
    return emitted
