"""Prefill: the context into the committed cache and to the drafter, and the first root."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tracing.errors import UsageError
from tracing.stages import IntArray, Prefilled
from workbench.fused.cache.rows import RowCache
from workbench.fused.drafters.seam import CommittedRows
from workbench.fused.engine import Engine
from workbench.fused.experts import routing_results
from workbench.fused.masks import blocked_from_visible, causal_visible, padded_to
from workbench.fused.seen import Seen, seen_of
from workbench.fused.state import FusedState
from workbench.fused.teacher import TeacherOutput


@torch.inference_mode()
def prefill(engine: Engine, state: FusedState, prompt_token_ids: Sequence[int]) -> Prefilled:
    """Reset the state to this context and choose the first root.

    Raises:
        UsageError: An empty context, or a token id outside the vocabulary.
    """
    prompt = checked_context(prompt_token_ids, engine.vocab_size)
    state.watch.about_to_run("prefill", {"context_token_ids": prompt})
    state.caches = engine.new_caches()
    state.memory = engine.drafter.begin()
    rows = feed_context(engine, state.caches.main_cache, prompt, seen_of(state.give, "teacher"))
    logits = rows.logits[-1]
    root = int(logits.argmax()) if state.chooser is None else state.chooser.root(logits)
    context = np.append(prompt, root)
    engine.drafter.follow(state.memory, CommittedRows(prompt, context[1:], rows.features))
    return Prefilled(
        context_token_ids=context,
        logits=logits,
        features=rows.features,
        expert_ids=routing_results(rows.routing).get("expert_ids"),
    )


def feed_context(
    engine: Engine, cache: RowCache, token_ids: IntArray, seen: Seen | None = None
) -> TeacherOutput:
    """Run the teacher over a whole context, or one more token; logits are of the last row.

    Args:
        engine: Of the path.
        cache: Takes the rows; empty for a context.
        token_ids: int64 `[R]`.
        seen: Where the tensors of the forward are told, or None.
    """
    start, num_rows = int(cache.get_seq_length()), len(token_ids)
    total, width = start + num_rows, cache.mask_width(num_rows)
    blocked = {
        window: blocked_from_visible(padded_to(causal_visible(num_rows, total, window, engine.device), width))
        for window in dict.fromkeys(engine.teacher.windows)
        if window and total > window
    }
    return engine.teacher.forward(
        engine.to_device(token_ids),
        torch.arange(start, total, device=engine.device),
        cache,
        engine.attention_call(causal=start == 0, seen=seen),
        blocked=blocked,
        last_only=True,
    )


def checked_context(token_ids: Sequence[int], vocab_size: int) -> IntArray:
    """Return the context as int64 `[L]`.

    Raises:
        UsageError: It is empty, or a token id is outside the vocabulary.
    """
    prompt = np.asarray(token_ids, dtype=np.int64)
    if prompt.ndim != 1 or len(prompt) == 0:
        raise UsageError(f"the context should be at least one token id, got shape {prompt.shape}")
    if prompt.min() < 0 or prompt.max() >= vocab_size:
        raise UsageError(
            f"token ids should be 0 to {vocab_size - 1}, got {int(prompt.min())} to {int(prompt.max())}"
        )
    return prompt
