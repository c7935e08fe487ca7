"""Verify: committed tokens and the tree behind them in one forward, without a cache."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.reduce.plain.comparing import Config
from workbench.reduce.plain.models import load_model
from workbench.reduce.plain.teacher import causal, run_model


def expected(
    case: Config, inputs: dict[str, Tensor], own: torch.dtype, wide: torch.dtype
) -> dict[str, Tensor]:
    """Return what the teacher gives of every node, and K/V of the committed rows before it."""
    config, weights = load_model("teacher", own, wide)
    length, nodes, parents = len(inputs["committed"]), len(inputs["token_ids"]), inputs["parents"].tolist()
    tree = torch.zeros(nodes, nodes, dtype=torch.bool)
    for node in range(nodes):
        if inputs["valid"][node]:
            tree[node] = tree[parents[node]] if node else tree[node]
            tree[node, node] = True
    visible = torch.zeros(length + nodes, length + nodes, dtype=torch.bool)
    visible[:length, :length] = causal(length)
    visible[length:, :length] = inputs["valid"][:, None]
    visible[length:, length:] = tree
    offset = case["rotary_offset"]
    positions = torch.cat([torch.arange(length), inputs["position_ids"]]) + offset
    tokens = torch.cat([inputs["committed"], inputs["token_ids"]])
    rows = run_model(tokens, positions, visible, weights, config)
    valid = inputs["valid"]
    kv = rows["kv"]
    made = {
        "kv_before": kv[..., :length, :],
        "visible": tree,
        "kv": kv[..., length:, :][..., valid, :],
        "logits": rows["logits"][length:][valid],
        "features": rows["features"][length:][valid],
    }
    return made if case["sampled"] else made | {"target_token_ids": made["logits"].argmax(dim=-1)}


def found_rows(inputs: dict[str, Tensor], found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what was found without the rows of pads, which mean nothing."""
    valid = inputs["valid"]
    kept = {
        name: each[valid]
        for name, each in found.items()
        if name in ("logits", "features", "target_token_ids")
    }
    return {**found, **kept, **({"kv": found["kv"][..., valid, :]} if "kv" in found else {})}
