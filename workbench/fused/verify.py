"""Verify: one packed teacher forward over all N rows, keys and values into the branch cache."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tracing.codec import launch_columns
from tracing.stages import Tensorized, Verified
from workbench.fused.attention import AttentionCall
from workbench.fused.engine import Engine
from workbench.fused.masks import blocked_from_visible, padded_to, within_window
from workbench.fused.state import FusedState


@torch.inference_mode()
def verify(engine: Engine, state: FusedState, tree: Tensorized) -> Verified:
    """Return the teacher's choice after every node; the committed cache is not written.

    Raises:
        LaunchRefusedError: The watch refuses; nothing has been launched or changed.
    """
    committed_len = state.committed_len
    state.watch.about_to_run("verify", {"committed_len": committed_len} | launch_columns(tree))
    branch = state.caches.replicate()[0]
    call = engine.attention_call(tree=True)
    width = branch.mask_width(len(tree.token_ids))
    rows = engine.teacher.forward(
        engine.to_device(tree.token_ids),
        engine.to_device(tree.position_ids),
        branch,
        call,
        blocked={
            window: blocked_from_visible(
                padded_to(packed_visible(engine, tree, committed_len, window), width)
            )
            for window in dict.fromkeys(engine.teacher.windows)
        },
        slots=None if tree.slots is None else engine.to_device(tree.slots),
    )
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
    )


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
