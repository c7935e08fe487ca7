"""Verify: one packed teacher forward over all N rows, keys and values into the branch cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tracing.codec import launch_columns
from tracing.stages import Tensorized, Verified
from workbench.fused.attention import AttentionCall
from workbench.fused.cache.pages import Pages
from workbench.fused.cache.rows import RowCache
from workbench.fused.engine import Engine
from workbench.fused.experts import routing_results
from workbench.fused.masks import blocked_from_visible, padded_to, within_window
from workbench.fused.seen import seen_of
from workbench.fused.state import FusedState
from workbench.fused.step_inputs import refresh


@torch.inference_mode()
def verify(engine: Engine, state: FusedState, tree: Tensorized) -> Verified:
    """Return the teacher's choice after every node; the committed cache is not written.

    Raises:
        LaunchRefusedError: The watch refuses; nothing has been launched or changed.
    """
    committed_len = state.committed_len
    state.watch.about_to_run("verify", {"committed_len": committed_len} | launch_columns(tree))
    branch = state.caches.replicate()[0]
    call = engine.attention_call(tree=True, seen=seen_of(state.give, "teacher"))
    token_ids, position_ids, blocked, pages = _launch_inputs(engine, state, branch, tree)
    rows = engine.teacher.forward(token_ids, position_ids, branch, call, blocked=blocked, pages=pages)
    received = read_back(call, len(tree.token_ids)).cpu().numpy()
    tree_end = committed_len + len(tree.token_ids)
    return Verified(
        visible=received[:, committed_len:tree_end],
        prefix_visible=received[:, :committed_len].sum(axis=1, dtype=np.int64),
        other_visible=received[:, tree_end:].sum(axis=1, dtype=np.int64),
        logits=rows.logits,
        target_token_ids=rows.logits.argmax(dim=-1).cpu().numpy(),
        features=rows.features,
        kernel=call.kernel,
        **routing_results(rows.routing),
    )


def _launch_inputs(
    engine: Engine, state: FusedState, branch: RowCache, tree: Tensorized
) -> tuple[Tensor, Tensor, Mapping[int, Tensor], Pages | None]:
    """Return token ids, positions, masks and pages of a launch, at fixed places where trees are alike."""
    width = branch.mask_width(len(tree.token_ids))
    blocked = {
        window: blocked_from_visible(
            padded_to(packed_visible(engine, tree, state.committed_len, window), width)
        )
        for window in dict.fromkeys(engine.teacher.windows)
    }
    pages, fixed = branch.pages(len(tree.token_ids)), state.inputs
    if fixed is not None and fixed.fits(tree, width):
        refresh(fixed, tree, blocked, pages)
        if pages is not None and fixed.slots is not None and fixed.block_table is not None:
            pages = replace(pages, slots=fixed.slots, block_table=fixed.block_table)
        return fixed.token_ids, fixed.position_ids, fixed.blocked, pages
    if pages is not None and tree.slots is not None:
        pages = replace(pages, slots=engine.to_device(tree.slots))
    return engine.to_device(tree.token_ids), engine.to_device(tree.position_ids), blocked, pages


def packed_visible(engine: Engine, tree: Tensorized, committed_len: int, window: int) -> Tensor:
    """Return who attends to whom over prefix and tree, bool `[N, L + N]`: valid rows see the whole prefix.

    A layer with a window sees as far as it reaches.
    """
    num_rows = len(tree.token_ids)
    visible = np.empty((num_rows, committed_len + num_rows), dtype=np.bool_)
    visible[:, :committed_len] = tree.valid[:, None]
    visible[:, committed_len:] = tree.visible
    on_device = torch.from_numpy(visible).to(engine.device)
    if window:
        key_positions = np.concatenate([np.arange(committed_len), tree.position_ids])
        on_device &= within_window(
            engine.to_device(tree.position_ids), engine.to_device(key_positions), window
        )
    return on_device


def read_back(call: AttentionCall, num_rows: int) -> Tensor:
    """Return bool `[N, KV]`, True attends, from the very mask that the first layer was given."""
    if call.given is None:
        return torch.ones((num_rows, call.num_keys), dtype=torch.bool)
    return torch.logical_not(call.given[0, 0].bool())
