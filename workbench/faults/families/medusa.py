"""Faults of Medusa: its heads, the tables of its static tree, and what a port does where shapes are fixed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
import torch

from tracing.stages import Accepted, Drafted, Tensorized
from workbench.faults.families.masks import on_mask
from workbench.faults.fault import fault
from workbench.faults.placement import Placement, Scene, on_engine, on_function
from workbench.fused.drafters import medusa
from workbench.fused.engine import Engine

Function = Callable[..., Any]

RANKS: Final = ("JUDGE-DRAFT-RANK", "JUDGE-DRAFT-SCORES")
TOPOLOGY: Final = ("JUDGE-DRAFT-TOPOLOGY",)

medusa_fault: Final = partial(fault, need="medusa")
HEADS: Final = partial(medusa_fault, stage="draft", noticed_by=RANKS)
CANDIDATES: Final = on_function(medusa, "candidates")


def on_heads(change: Callable[[Any], dict[str, Any]]) -> Placement:
    """Exchange attributes of the drafter."""

    def place(engine: Engine) -> Engine:
        drafter: Any = engine.drafter
        return replace(engine, drafter=replace(drafter, **change(drafter)))

    return on_engine(place)


def on_tables(change: Callable[[Any], dict[str, Any]]) -> Placement:
    """Exchange tables of the static tree."""
    return on_heads(lambda drafter: {"tree": replace(drafter.tree, **change(drafter.tree))})


@HEADS("F-MEDUSA-01", "OpenPangu heads of more than one block", placed=on_heads)
def blocks_share_one_module(drafter: Any) -> dict[str, Any]:
    """A list made by repetition holds one residual block as often as there should be several."""
    return {"blocks": tuple((blocks[0],) * len(blocks) for blocks in drafter.blocks)}


@HEADS("F-MEDUSA-02", "conversions to vLLM's layout", placed=on_heads)
def block_biases_lost(drafter: Any) -> dict[str, Any]:
    """A conversion drops the biases of the residual blocks."""

    def without(block: Any) -> Any:
        return lambda rows: block(rows) - block(0 * rows)

    return {"blocks": tuple(tuple(map(without, blocks)) for blocks in drafter.blocks)}


@HEADS("F-MEDUSA-03", "OpenPangu checkpoints of three heads", placed=on_heads)
def heads_one_late(drafter: Any) -> dict[str, Any]:
    """Head i + 1 stands where head i should: its tokens are for one place further."""
    return {
        "blocks": (*drafter.blocks[1:], drafter.blocks[-1]),
        "heads": (*drafter.heads[1:], drafter.heads[-1]),
    }


@HEADS("F-MEDUSA-04", "FasterDecoding/Medusa utils.py: TOPK is a constant", placed=on_tables)
def rank_aliases_next_head(tree: Any) -> dict[str, Any]:
    """Heads are laid out nine candidates wide and read ten wide, so that ranks run into the next head."""
    below = tree.depths > 0
    return {"candidates": np.where(below, 9 * (tree.depths - 1) + tree.ranks + 1, 0)}


@medusa_fault("F-MEDUSA-05", "static buffers of a graph", stage="draft", noticed_by=RANKS, placed=CANDIDATES)
def candidates_of_the_step_before(original: Function, drafter: Any, hidden: Any, seen: Any) -> Any:
    """The graph replays the hidden row that was copied in for an earlier step."""
    return original(drafter, hidden.roll(1, dims=-1), seen)


@medusa_fault("F-MEDUSA-06", "candidates by path, not by node", stage="draft", noticed_by=TOPOLOGY)
def chain_of_a_tree(made: Drafted, _: Scene) -> Drafted:
    """Every node hangs below the one before it, as in a chain, at a fallback of the topology."""
    return replace(made, parents=np.maximum(np.arange(len(made.parents)) - 1, 0), depths=None)


@medusa_fault(
    "F-MEDUSA-07",
    "OpenPangu modeling: another length falls back to causal",
    stage="tensorize",
    noticed_by=("JUDGE-TENSORIZE-VISIBLE", "MASK007"),
)
def causal_instead_of_tree(made: Tensorized, _: Scene) -> Any:
    """The length is not the tree's, so that nodes see all nodes before them."""
    return replace(made, visible=np.tril(np.ones_like(made.visible)) & made.valid & made.valid[:, None])


@medusa_fault(
    "F-MEDUSA-08",
    "OpenPangu modeling: positions of the cache from those of the tree",
    stage="tensorize",
    noticed_by=("JUDGE-TENSORIZE-CACHE", "POS002", "POS003"),
)
def cache_positions_from_depths(made: Tensorized, _: Scene) -> Any:
    """A node is cached at L + depth: nodes of one depth overwrite each other."""
    return replace(made, cache_positions=made.position_ids.copy())


@medusa_fault(
    "F-MEDUSA-09",
    "FasterDecoding/Medusa utils.py: pads wrap onto token 0",
    stage="accept",
    noticed_by=("JUDGE-ACCEPT-NODES", "JUDGE-ACCEPT-EMITTED", "JUDGE-ACCEPT-FINAL"),
)
def pad_accepted_past_leaf(made: Accepted, scene: Scene) -> Accepted:
    """A pad behind a short path counts as accepted: a token 0, and the row before the tree once more."""
    emitted = np.concatenate([made.emitted_token_ids[:-1], [0], made.emitted_token_ids[-1:]])
    path = np.append(made.path_indices, scene.state.committed_len - 1)
    nodes = np.append(made.accepted_nodes, len(scene.arguments[0].token_ids) - 1)
    return replace(made, accepted_nodes=nodes, emitted_token_ids=emitted, path_indices=path)


@medusa_fault(
    "F-MEDUSA-10",
    "OpenPangu modeling: a mask without the prefix",
    stage="verify",
    noticed_by=("JUDGE-INPUT-LAUNCHED", "JUDGE-VERIFY-PREFIX", "JUDGE-VERIFY-VISIBLE", "MASK009", "MASK005"),
    placed=on_mask,
)
def prefix_left_out_of_the_mask(visible: torch.Tensor) -> torch.Tensor:
    """The mask is built over the rows of the tree alone: no node sees the prefix."""
    hidden = visible.clone()
    hidden[:, : visible.shape[1] - visible.shape[0]] = False
    return hidden


@HEADS("F-MEDUSA-11", "OpenPangu modeling: five heads whatever the file has", placed=on_heads)
def head_that_the_file_lacks(drafter: Any) -> dict[str, Any]:
    """More heads are made than the file has: the last one keeps the blocks of zeros that it was made with."""
    untrained = tuple(torch.zeros_like for _ in drafter.blocks[-1])
    return {"blocks": (*drafter.blocks[:-1], untrained)}
