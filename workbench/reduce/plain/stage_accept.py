"""Accept: the path that the teacher's choices take through the tree."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.reduce.plain.comparing import Config
from workbench.reduce.plain.tree_stages import accept


def expected(
    case: Config, inputs: dict[str, Tensor], own: torch.dtype, wide: torch.dtype
) -> dict[str, Tensor]:
    """Return the accepted path; nothing where tokens are drawn by chance."""
    if case["sampled"]:
        return {}
    return accept(
        inputs["token_ids"].tolist(),
        inputs["parents"].tolist(),
        inputs["valid"].tolist(),
        inputs["target_token_ids"].tolist(),
        int(inputs["remaining"]),
        case["eos_token_ids"],
        len(inputs["committed"]),
    )
