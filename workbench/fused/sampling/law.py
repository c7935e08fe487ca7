"""Laws of many rows at once: temperature, top-k, top-p and softmax, in float32 at least."""

from __future__ import annotations

import torch
from torch import Tensor

from tracing.settings import DecodeSettings


def laws(logits: Tensor, settings: DecodeSettings) -> Tensor:
    """Return the law of each row after warping, `[R, V]`, in float32, or float64 for logits of it.

    Logits of half precisions are widened before anything else: a softmax in bfloat16 moves probabilities by
    up to one part in 256, and with them every decision.

    Args:
        logits: `[R, V]`.
        settings: `temperature`, `sampling_top_k` and `top_p`.
    """
    rows = logits.to(torch.promote_types(logits.dtype, torch.float32)) / settings.temperature
    if 0 < settings.sampling_top_k < rows.shape[-1]:
        least = rows.topk(settings.sampling_top_k, dim=-1).values[:, -1:]
        rows = rows.masked_fill(rows < least, -torch.inf)
    law = rows.softmax(dim=-1)
    if settings.top_p < 1:
        ranked, order = law.sort(dim=-1, descending=True, stable=True)
        mass_before = ranked.double().cumsum(dim=-1) - ranked
        kept = torch.zeros_like(law, dtype=torch.bool).scatter(-1, order, mass_before < settings.top_p)
        law = law.masked_fill(~kept, 0)
        law = law / law.sum(dim=-1, keepdim=True)
    return law
