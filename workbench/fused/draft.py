"""Draft: the drafter proposes a tree under the root, from what it remembers of the committed rows."""

from __future__ import annotations

import torch

from tracing.errors import UsageError
from tracing.stages import Drafted
from workbench.fused.drafters.seam import DraftTurn
from workbench.fused.engine import Engine
from workbench.fused.seen import seen_of
from workbench.fused.state import FusedState


@torch.inference_mode()
def draft(engine: Engine, state: FusedState) -> Drafted:
    """Return the tree under the current root; the drafter's cache then holds the committed rows.

    Raises:
        UsageError: No prefill came before.
    """
    if not state.committed_len:
        raise UsageError("draft needs a context, call prefill first")
    state.watch.about_to_run("draft", {"committed_len": state.committed_len})
    turn = DraftTurn(
        state.watch,
        state.committed_len,
        engine.settings,
        state.draws,
        seen_of(state.give, "drafter"),
    )
    return engine.drafter.draft(state.memory, turn)
