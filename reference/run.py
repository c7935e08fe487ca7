"""The six stages over a state; on the cached rung it holds rows of teacher and drafter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from reference import cached
from reference.accept import accept
from reference.drafters import drafter_of
from reference.model import ReferenceModels
from reference.rungs import CACHED, Rung
from reference.search import DraftContext
from reference.state import ReferenceState
from reference.teacher import TeacherRows
from reference.tensorize import rows_for, tensorize
from tracing.codec import launch_columns
from tracing.errors import UsageError
from tracing.settings import DecodeSettings
from tracing.stages import Accepted, Committed, Drafted, IntArray, Prefilled, Tensorized, Verified

ONE_COMMIT: Final = "the reference has one way to commit: it gathers every row anew"


class RungStages:
    """The stages, bound to models, settings and a rung; all that changes is in the state."""

    def __init__(self, models: ReferenceModels, settings: DecodeSettings, rung: Rung) -> None:
        self.models = models
        self.settings = settings
        self.rung = rung
        self.has_cache = rung is CACHED

    def prefill(self, state: ReferenceState, prompt_token_ids: Sequence[int]) -> Prefilled:
        """Run the teacher over the context and choose the first root; forgets everything before."""
        prompt = tuple(int(token_id) for token_id in prompt_token_ids)
        if not prompt:
            raise UsageError("the prompt should have at least one token, got none")
        state.watch.about_to_run("prefill", {"context_token_ids": np.array(prompt, dtype=np.int64)})
        rows = self.rung.prefill(self.models, prompt)
        logits = rows.logits[-1]
        state.root = int(logits.argmax()) if state.chooser is None else state.chooser.root(logits)
        state.token_ids, state.features = prompt, rows.features
        state.main_kv = rows.kv if self.has_cache else None
        state.drafter_kv = state.branch_kv = state.node_kv = None
        return Prefilled(
            context_token_ids=np.array([*prompt, state.root], dtype=np.int64),
            logits=logits,
            features=rows.features,
        )

    def draft(self, state: ReferenceState) -> Drafted:
        """Grow the tree under the root."""
        state.watch.about_to_run("draft", {"committed_len": state.committed_len})
        # The last committed row always runs again: its output is what the draft starts from.
        known = state.drafter_kv
        context = DraftContext(
            state.token_ids,
            state.root,
            _prefilled(state),
            past_kv=None if known is None else known[:, :, :, : state.committed_len - 1],
            draws=None if state.chooser is None else state.chooser.draws,
        )
        drafter = drafter_of(self.models.pair)
        proposal = drafter.propose(self.models, self.rung.name, context, self.settings, state.watch)
        state.drafter_kv = proposal.committed_kv if self.has_cache else None
        return proposal.drafted

    def tensorize(self, state: ReferenceState, drafted: Drafted) -> Tensorized:
        """Lay the tree out in N rows."""
        columns = {"committed_len": state.committed_len} | launch_columns(drafted)
        state.watch.about_to_run("tensorize", columns)
        return tensorize(drafted, state.committed_len, rows_for(drafted, self.settings.tree_nodes))

    def verify(self, state: ReferenceState, tensorized: Tensorized) -> Verified:
        """Run the teacher over the tree."""
        columns = {"committed_len": state.committed_len} | launch_columns(tensorized)
        state.watch.about_to_run("verify", columns)
        rows = self._node_rows(state, tensorized)
        visible = rows.visible.cpu().numpy()
        first_other = state.committed_len + len(tensorized.token_ids)
        return Verified(
            visible=visible[:, state.committed_len : first_other],
            prefix_visible=visible[:, : state.committed_len].sum(axis=1),
            other_visible=visible[:, first_other:].sum(axis=1),
            logits=rows.logits,
            target_token_ids=rows.logits.argmax(dim=-1).cpu().numpy(),
            features=rows.features,
            kernel=f"eager softmax, {self.rung.name} rung, bool visible {list(visible.shape)}",
        )

    def accept(
        self, state: ReferenceState, tensorized: Tensorized, verified: Verified, remaining: int
    ) -> Accepted:
        """Follow the teacher's choices down the tree."""
        columns = {"committed_len": state.committed_len, "target_token_ids": verified.target_token_ids}
        state.watch.about_to_run("accept", columns)
        choice = None if state.chooser is None else state.chooser.accept(tensorized, verified)
        eos_token_ids = self.models.pair.eos_token_ids
        return accept(tensorized, verified.target_token_ids, remaining, eos_token_ids, choice)

    def commit(
        self, state: ReferenceState, tensorized: Tensorized, verified: Verified, accepted: Accepted
    ) -> Committed:
        """Append root and accepted tokens and their features; the final token becomes the root."""
        columns = {"committed_len": state.committed_len} | launch_columns(accepted)
        state.watch.about_to_run("commit", columns)
        nodes = np.array([0, *accepted.accepted_nodes], dtype=np.int64)
        tokens = tuple(int(token_id) for token_id in tensorized.token_ids[nodes])
        if self.has_cache:
            self._commit_cache(state, nodes, tokens)
        committed_len = state.committed_len
        new_features = self.models.floats(verified.features)[torch.as_tensor(nodes)]
        state.features = torch.cat([_prefilled(state), new_features])
        state.token_ids += tokens
        state.root = int(accepted.final_token_id)
        asked = self.settings.commit_mode == "full_reorder"
        return Committed(
            committed_len=committed_len,
            committed_len_after=state.committed_len,
            commit_mode="full_reorder" if self.has_cache else None,
            commit_fallback=ONE_COMMIT if self.has_cache and not asked else None,
            prefix_kept=True if self.has_cache else None,
        )

    def _node_rows(self, state: ReferenceState, tensorized: Tensorized) -> TeacherRows:
        tree = tensorized.token_ids, tensorized.position_ids, tensorized.visible
        if not self.has_cache:
            return self.rung.verify(self.models, state.token_ids, *tree)
        prefix_kv = _cached(state)
        rows = cached.verify(self.models, state.token_ids, *tree, prefix_kv=prefix_kv)
        state.node_kv, state.branch_kv = rows.kv, torch.cat([prefix_kv, rows.kv], dim=3)
        return rows

    def _commit_cache(self, state: ReferenceState, nodes: IntArray, tokens: Sequence[int]) -> None:
        prefix_kv = _cached(state)
        if state.node_kv is None:  # verified elsewhere, so there are no rows to keep
            own_kv = cached.extend(self.models, prefix_kv, tokens).kv
            state.main_kv = torch.cat([prefix_kv, own_kv], dim=3)
        else:
            state.main_kv = cached.compact(prefix_kv, state.node_kv, nodes)
        state.node_kv = None


def _prefilled(state: ReferenceState) -> Tensor:
    if state.features is None:
        raise UsageError("prefill should run before any other stage, but this state has no context yet")
    return state.features


def _cached(state: ReferenceState) -> Tensor:
    if state.main_kv is None:
        raise UsageError("prefill should run before any other stage, but this state has no cache yet")
    return state.main_kv
