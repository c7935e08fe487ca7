"""Faults of padding: rows that stand for nothing and take part nevertheless."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np

from tracing.stages import Accepted, Tensorized
from workbench.faults.fault import Fault
from workbench.faults.placement import Scene, after


def _live(made: Tensorized, _: Scene) -> Tensorized:
    return replace(made, valid=np.ones_like(made.valid))


def _seen(made: Tensorized, _: Scene) -> Tensorized:
    visible = made.visible.copy()
    visible[np.ix_(made.valid, ~made.valid)] = True
    return replace(made, visible=visible)


def _sentinel_token(made: Tensorized, _: Scene) -> Tensorized:
    return replace(made, token_ids=np.where(made.valid, made.token_ids, -1))


def _sentinel_parent(made: Tensorized, _: Scene) -> Tensorized:
    return replace(made, parents=np.where(made.valid, made.parents, -1))


def _past_the_leaf(made: Accepted, scene: Scene) -> Any:
    """The pad's token equals the choice after the leaf, and the walk goes on into the padding."""
    tree: Tensorized = scene.arguments[0]
    pad = int(np.flatnonzero(~tree.valid)[0])
    return replace(
        made,
        accepted_nodes=np.append(made.accepted_nodes, pad),
        emitted_token_ids=np.append(made.emitted_token_ids, made.final_token_id),
        path_indices=np.append(made.path_indices, tree.cache_positions[pad]),
    )


FAULTS: Final = (
    Fault(
        id="F-PAD-01",
        name="pad-row-live",
        about="Padding rows are marked valid.",
        stage="tensorize",
        seen_in=("va#11408", "vllm#43682"),
        noticed_by=("TREE002", "JUDGE-TENSORIZE-VALID"),
        need="pads",
        place=lambda: after("tensorize", _live),
    ),
    Fault(
        id="F-PAD-02",
        name="pad-visible",
        about="Nodes attend to the padding rows behind them.",
        stage="tensorize",
        seen_in=("sgl#37553",),
        noticed_by=("JUDGE-TENSORIZE-VISIBLE", "JUDGE-TENSORIZE-PADS"),
        need="pads",
        place=lambda: after("tensorize", _seen),
    ),
    Fault(
        id="F-PAD-03",
        name="placeholder-token-looked-up",
        about="Pads carry the placeholder -1, which the embedding looks up.",
        stage="tensorize",
        seen_in=("va#10043", "va#10307", "vllm#40768"),
        noticed_by=("JUDGE-TENSORIZE-PADS", "JUDGE-TENSORIZE-TOKENS", "IDX003"),
        need="pads",
        place=lambda: after("tensorize", _sentinel_token),
    ),
    Fault(
        id="F-PAD-04",
        name="placeholder-parent",
        about="Pads carry the parent -1, which a gather reads as the last node.",
        stage="tensorize",
        seen_in=("va#5059", "trt#12188"),
        noticed_by=("TREE001", "JUDGE-TENSORIZE-PADS"),
        need="pads",
        place=lambda: after("tensorize", _sentinel_parent),
    ),
    Fault(
        id="F-PAD-05",
        name="accept-past-a-leaf",
        about="The walk compares the pad behind a leaf, matches it, and accepts one token too many.",
        stage="accept",
        seen_in=("medusa utils.py, candidates padded with token 0",),
        noticed_by=("ACC001", "JUDGE-ACCEPT-NODES"),
        need="pads",
        place=lambda: after("accept", _past_the_leaf),
    ),
)
