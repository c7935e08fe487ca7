"""Prefill: the whole prompt in one forward."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.reduce.plain.comparing import Config
from workbench.reduce.plain.models import load_model
from workbench.reduce.plain.teacher import causal, run_model


def expected(
    case: Config, inputs: dict[str, Tensor], own: torch.dtype, wide: torch.dtype
) -> dict[str, Tensor]:
    """Return logits after the last token, features and K/V of every row, and the first root."""
    config, weights = load_model("teacher", own, wide)
    prompt = inputs["prompt"]
    positions = torch.arange(len(prompt)) + case["rotary_offset"]
    rows = run_model(prompt, positions, causal(len(prompt)), weights, config)
    logits = rows["logits"][-1:]
    root = {} if case["sampled"] else {"root": logits[0].argmax()}
    return {"logits": logits, "features": rows["features"], "kv": rows["kv"], **root}
