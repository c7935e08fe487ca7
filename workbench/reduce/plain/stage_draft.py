"""Draft: the drafter's tree under the root."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.reduce.plain.comparing import Config
from workbench.reduce.plain.drafters import after_eagle3, after_model, as_tree, medusa, search
from workbench.reduce.plain.models import load_model
from workbench.reduce.plain.tree_stages import look_up


def expected(
    case: Config, inputs: dict[str, Tensor], own: torch.dtype, wide: torch.dtype
) -> dict[str, Tensor]:
    """Return tokens and parents of the tree, and log-probabilities where the drafter has them."""
    config, weights = load_model("drafter", own, wide)
    committed, root, settings = inputs["committed"].tolist(), int(inputs["root"]), case["settings"]
    nodes = settings["tree_nodes"] - 1
    if case["proposer"] == "lookup":
        bounds = (nodes, settings["lookup_min"], settings["lookup_max"], case["max_positions"])
        proposed = look_up([*committed, root], settings["lookup_rule"], *bounds, case["eos_token_ids"])
        parents = torch.tensor([0, *range(len(proposed))])
        return {"token_ids": torch.tensor([root, *proposed]), "parents": parents}
    held = weights.get("target_from_draft")
    target_ids = list(range(case["vocab_size"])) if held is None else held.tolist()
    features = inputs["features"].to(wide)
    if case["proposer"] == "medusa":
        paths = [tuple(path) for path in case["static_paths"]]
        return medusa(root, features[-1], paths, target_ids, weights, config)
    config |= {"window": case["drafter_window"], "rotary_offset": case["rotary_offset"]}
    if case["proposer"] == "eagle3":
        after = after_eagle3(committed, root, features, weights, config)
    else:
        after = after_model(committed, root, weights, config)
    return as_tree(root, search(after, target_ids, settings["depth"], settings["top_k"]), nodes)
