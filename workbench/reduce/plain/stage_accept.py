"""Accept: the path that the teacher's choices take through the tree."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.reduce.plain.comparing import Config
from workbench.reduce.plain.tree_stages import accept, target_probs


def expected(
    case: Config, inputs: dict[str, Tensor], own: torch.dtype, wide: torch.dtype
) -> dict[str, Tensor]:
    """Return the accepted path; where tokens are drawn, the law of the drafted ones alone."""
    if case["sampled"]:
        if "logits" not in inputs or case["settings"]["acceptance"].startswith("medusa"):
            return {}
        token_ids, parents, valid = (inputs[name].tolist() for name in ("token_ids", "parents", "valid"))
        logits = inputs["logits"].to(wide if wide == torch.float64 else torch.float32)
        return {"target_probs": target_probs(token_ids, parents, valid, logits, case["settings"])}
    return accept(
        inputs["token_ids"].tolist(),
        inputs["parents"].tolist(),
        inputs["valid"].tolist(),
        inputs["target_token_ids"].tolist(),
        int(inputs["remaining"]),
        case["eos_token_ids"],
        len(inputs["committed"]),
    )
