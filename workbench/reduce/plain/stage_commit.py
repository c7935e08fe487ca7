"""Commit: the cache rows that are kept."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.reduce.plain.comparing import Config
from workbench.reduce.plain.tree_stages import commit


def expected(
    case: Config, inputs: dict[str, Tensor], own: torch.dtype, wide: torch.dtype
) -> dict[str, Tensor]:
    """Return the committed cache after the step; rows are copied, so every bit is equal."""
    if "cached" not in inputs:
        return {}
    return {"kv": commit(inputs["cached"], len(inputs["committed"]), inputs["path_indices"].tolist())}
