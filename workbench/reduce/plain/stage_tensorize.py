"""Tensorize: the arrays of a drafted tree."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.reduce.plain.comparing import Config
from workbench.reduce.plain.tree_stages import tensorize


def expected(
    case: Config, inputs: dict[str, Tensor], own: torch.dtype, wide: torch.dtype
) -> dict[str, Tensor]:
    """Return the arrays of all rows."""
    tokens = inputs["token_ids"].tolist()
    rows = case["settings"]["tree_nodes"] if len(tokens) > 1 else 1
    scores = inputs["logprobs"].tolist() if "logprobs" in inputs else None
    return tensorize(tokens, inputs["parents"].tolist(), scores, len(inputs["committed"]), rows)
