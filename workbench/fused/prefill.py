"""Prefill: the context into the committed cache, the first root, features for the drafter's first rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tracing.errors import UsageError
from tracing.stages import IntArray, Prefilled
from workbench.fused.cache.contiguous import ContiguousCache
from workbench.fused.cache.rows import RowCache
from workbench.fused.engine import Engine
from workbench.fused.masks import blocked_from_visible, causal_visible, padded_to
from workbench.fused.state import FusedState, NewRows
from workbench.fused.teacher import TeacherRows


@torch.inference_mode()
def prefill(engine: Engine, state: FusedState, prompt_token_ids: Sequence[int]) -> Prefilled:
    """Reset the state to this context and choose the first root.

    Raises:
        UsageError: An empty context, or a token id outside the vocabulary.
    """
    prompt = checked_context(prompt_token_ids, engine.vocab_size)
    state.watch.about_to_run("prefill", {"context_token_ids": prompt})
    state.caches = engine.new_caches()
    state.drafter_cache = ContiguousCache(1)
    rows = feed_context(engine, state.caches.main_cache, prompt)
    root = rows.logits[-1].argmax()
    state.new_rows = NewRows(rows.features, torch.cat([engine.to_device(prompt[1:]), root[None]]))
    return Prefilled(
        context_token_ids=np.append(prompt, int(root)),
        logits=rows.logits[-1],
        features=rows.features,
    )


def feed_context(engine: Engine, cache: RowCache, prompt: IntArray) -> TeacherRows:
    """Run the teacher over a whole context; its rows go to the empty `cache`, logits are of the last row."""
    num_rows, window = len(prompt), engine.teacher.window
    in_window = window == 0 or num_rows <= window
    return engine.teacher.forward(
        engine.to_device(prompt),
        torch.arange(num_rows, device=engine.device),
        cache,
        engine.attention_call(causal=in_window),
        blocked=None
        if in_window
        else blocked_from_visible(
            padded_to(causal_visible(num_rows, num_rows, window, engine.device), cache.mask_width(num_rows))
        ),
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
