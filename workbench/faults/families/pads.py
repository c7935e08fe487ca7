"""Faults of padding: rows without a node that take part nevertheless."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np

from tracing.stages import Accepted, Tensorized
from workbench.faults.fault import fault
from workbench.faults.placement import Scene

pad_fault: Final = partial(fault, need="pads")


@pad_fault(
    "F-PAD-01", "va#11408", "vllm#43682", stage="tensorize", noticed_by=("TREE002", "JUDGE-TENSORIZE-VALID")
)
def pad_row_live(made: Tensorized, _: Scene) -> Tensorized:
    """Padding rows are marked valid."""
    return replace(made, valid=np.ones_like(made.valid))


@pad_fault(
    "F-PAD-02", "sgl#37553", stage="tensorize", noticed_by=("JUDGE-TENSORIZE-VISIBLE", "JUDGE-TENSORIZE-PADS")
)
def pad_visible(made: Tensorized, _: Scene) -> Tensorized:
    """Nodes attend to the padding rows behind them."""
    visible = made.visible.copy()
    visible[np.ix_(made.valid, ~made.valid)] = True
    return replace(made, visible=visible)


@pad_fault(
    "F-PAD-03",
    "va#10043",
    "va#10307",
    "vllm#40768",
    stage="tensorize",
    noticed_by=("JUDGE-TENSORIZE-PADS", "JUDGE-TENSORIZE-TOKENS", "IDX003"),
)
def placeholder_token_looked_up(made: Tensorized, _: Scene) -> Tensorized:
    """Pads carry the placeholder -1, which the embedding looks up."""
    return replace(made, token_ids=np.where(made.valid, made.token_ids, -1))


@pad_fault(
    "F-PAD-04", "va#5059", "trt#12188", stage="tensorize", noticed_by=("TREE001", "JUDGE-TENSORIZE-PADS")
)
def placeholder_parent(made: Tensorized, _: Scene) -> Tensorized:
    """Pads carry the parent -1, which a gather reads as the last node."""
    return replace(made, parents=np.where(made.valid, made.parents, -1))


@pad_fault(
    "F-PAD-05",
    "medusa utils.py, candidates padded with token 0",
    stage="accept",
    noticed_by=("ACC001", "JUDGE-ACCEPT-NODES"),
)
def accept_past_a_leaf(made: Accepted, scene: Scene) -> Any:
    """The walk compares the pad behind a leaf, matches it, and accepts one token too many."""
    tree: Tensorized = scene.arguments[0]
    pad = int(np.flatnonzero(~tree.valid)[0])
    return replace(
        made,
        accepted_nodes=np.append(made.accepted_nodes, pad),
        emitted_token_ids=np.append(made.emitted_token_ids, made.final_token_id),
        path_indices=np.append(made.path_indices, tree.cache_positions[pad]),
    )


@fault("F-PAD-06", "va#15867", stage="tensorize", noticed_by=("KV013",), need="paged_pads")
def pad_slots_clamped_to_zero(made: Tensorized, _: Scene) -> Tensorized:
    """The slot -1 of pads is clamped to 0, where the first token of the prompt lies."""
    assert made.slots is not None
    return replace(made, slots=np.where(made.valid, made.slots, 0))
