"""Teacher-only greedy decoding on the same engine: what speculation has to beat, token for token."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from tracing.errors import UsageError
from workbench.fused.engine import Engine
from workbench.fused.prefill import checked_context, feed_context


@torch.inference_mode()
def decode_greedy(
    engine: Engine,
    prompt_token_ids: Sequence[int],
    max_new_tokens: int,
    on_token: Callable[[int], None] | None = None,
) -> list[int]:
    """Return the emitted tokens, the first root included: at most `max_new_tokens`, ending at EOS.

    Args:
        engine: Models, caches and switches of a fused path.
        prompt_token_ids: The context, `[L]`.
        max_new_tokens: Tokens to emit, at least 1.
        on_token: Called with each token as it is known, for timing.

    Raises:
        UsageError: An empty context, a token id outside the vocabulary, no token to emit, or weights that
            were changed since the path was built.
    """
    if max_new_tokens < 1:
        raise UsageError(f"max_new_tokens should be at least 1, got {max_new_tokens}")
    prompt = checked_context(prompt_token_ids, engine.vocab_size)
    engine.originals.require_unchanged()
    cache = engine.new_caches().main_cache
    logits = feed_context(engine, cache, prompt).logits
    emitted: list[int] = []
    while True:
        token_id = int(logits[-1].argmax())
        emitted.append(token_id)
        if on_token is not None:
            on_token(token_id)
        if len(emitted) == max_new_tokens or token_id in engine.eos_token_ids:
            return emitted
        logits = feed_context(engine, cache, np.array([token_id])).logits
