"""Probes that run a model: logits of the token after some tokens, and the class that a checkpoint gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from tracing.errors import UsageError
from tracing.stages import FloatArray
from workbench.fused.engine import Engine
from workbench.fused.prefill import checked_context, feed_context
from workbench.lockstep.choice.facts import FirstLogits, LabelProbe
from workbench.lockstep.choice.policy import LabelQuestion
from workbench.lockstep.tensors.host import host_floats


def first_logits(engine: Engine) -> FirstLogits:
    """Return what runs an engine's teacher over tokens, on a cache of its own."""
    import torch

    @torch.inference_mode()
    def logits(token_ids: Sequence[int]) -> FloatArray:
        tokens = checked_context(token_ids, engine.vocab_size)
        fed = feed_context(engine, engine.new_caches().main_cache, tokens)
        found: FloatArray = host_floats(fed.logits[-1]).astype(np.float64)
        return found

    return logits


class Encode(Protocol):
    """The part of a tokenizer that a question needs."""

    def encode(self, text: str, *, special_tokens: bool = True) -> list[int]:
        """Return token ids."""
        ...


def label_probe(
    question: LabelQuestion, tokenizer: Encode, logits: FirstLogits, last_tokens: int
) -> LabelProbe:
    """Return the probe that asks a checkpoint for the class of a request.

    Raises:
        UsageError: Two labels begin with one token, or one has no token.
    """
    labels = {
        name: tokenizer.encode(text, special_tokens=False)[:1] for name, text in question.labels.items()
    }
    seen: dict[int, str] = {}
    for name, tokens in labels.items():
        if not tokens or tokens[0] in seen:
            other = f"begins as {seen[tokens[0]]!r} does" if tokens else "has no token"
            raise UsageError(f"probe.labels.{name} of the policy {other}; its first token stands for it")
        seen[tokens[0]] = name
    return LabelProbe(
        first_logits=logits,
        before=tuple(tokenizer.encode(question.before)),
        after=tuple(tokenizer.encode(question.after, special_tokens=False)) if question.after else (),
        labels={name: tokens[0] for name, tokens in labels.items()},
        gate=question.gate,
        last_tokens=last_tokens,
    )
