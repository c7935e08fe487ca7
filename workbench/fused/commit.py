"""Commit: adopt the accepted rows, and hand the drafter what it has to be fed next."""

from __future__ import annotations

import numpy as np
import torch

from tracing.stages import Accepted, Committed, Tensorized, Verified
from workbench.fused.drafters.seam import CommittedRows
from workbench.fused.engine import Engine
from workbench.fused.state import FusedState


@torch.inference_mode()
def commit(
    engine: Engine,
    state: FusedState,
    tree: Tensorized,
    verified: Verified,
    accepted: Accepted,
) -> Committed:
    """Move the accepted path into the committed cache and hand its rows to the drafter.

    Raises:
        ContractError: The path leaves the branch cache.
    """
    committed_len = state.committed_len
    state.watch.about_to_run(
        "commit", {"committed_len": committed_len, "path_indices": accepted.path_indices}
    )
    outcome = state.caches.commit(
        accepted.path_indices, engine.settings.commit_mode, fast_allowed=engine.switches.fast_reorder
    )
    path = np.append(0, accepted.accepted_nodes)
    features = verified.features.index_select(0, engine.to_device(path))
    rows = CommittedRows(tree.token_ids[path], accepted.emitted_token_ids, features)
    engine.drafter.follow(state.memory, rows)
    return Committed(
        committed_len=committed_len,
        committed_len_after=state.committed_len,
        commit_mode=outcome.mode,
        commit_fallback=outcome.fallback,
        prefix_kept=outcome.prefix_kept,
    )
