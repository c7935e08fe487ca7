"""A port with its own forward and cache: `specwb diff --fused examples.cache_port:factory --prompt FILE`.

This is how most ports begin: the teacher runs in the framework (here transformers, with its `DynamicCache`),
prefill, verify and commit are one's own, and draft, tensorize and accept are left to the reference. The state
is told the prompt by prefill, and what was accepted by commit; nothing else crosses.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from tracing.models import ModelPair
from tracing.module_hooks import hooked
from tracing.settings import DecodeSettings
from tracing.stages import (
    Accepted,
    Committed,
    DecodePath,
    NullWatch,
    Prefilled,
    Stages,
    StageWatch,
    Tensorized,
    Verified,
)


@dataclass
class CacheState:
    """What one request holds.

    Attributes:
        watch: Told what is about to run.
        cache: The teacher's K and V; after a verify, rows of the tree lie behind the committed ones.
        length: L, committed rows.
    """

    watch: StageWatch
    cache: Any = field(default_factory=DynamicCache)
    length: int = 0


def factory(pair: ModelPair, _settings: DecodeSettings, *, device: str, dtype: str) -> DecodePath:
    """Build the path; see `tracing.stages.PathFactory`."""
    port = CachePort(pair, "float32" if dtype == "auto" else dtype)
    return DecodePath(
        name="cache-port",
        stages=Stages(prefill=port.prefill, verify=port.verify, commit=port.commit),
        begin=CacheState,
        kv_rows=port.kv_rows,
        kv_lengths=port.kv_lengths,
        snapshot=port.snapshot,
        intermediates=lambda _, give: hooked(port.model, give),
        lacks=frozenset({"slots", "draft_top1_offsets"}),
        info={"device": device, "dtype": port.dtype_name},
    )


class CachePort:
    """The stages, over a transformers model that is built from the pair's weights."""

    def __init__(self, pair: ModelPair, dtype: str) -> None:
        self.pair, self.dtype_name = pair, dtype
        self.model = self._build(getattr(torch, dtype))

    def _build(self, dtype: torch.dtype) -> Any:
        """Fill a model with the pair's weights, which come by their canonical names."""
        teacher = self.pair.teacher
        options: dict[str, Any] = {
            "vocab_size": teacher.vocab_size,
            "hidden_size": teacher.hidden_size,
            "intermediate_size": teacher.intermediate_size,
            "num_hidden_layers": teacher.num_layers,
            "num_attention_heads": teacher.num_heads,
            "num_key_value_heads": teacher.num_kv_heads,
            "head_dim": teacher.head_dim,
            "rms_norm_eps": teacher.rms_norm_eps,
            "max_position_embeddings": teacher.max_position_embeddings,
            "rope_parameters": {"rope_type": "default", "rope_theta": teacher.rope.theta},
            "attention_bias": teacher.qkv_bias,
            "attn_implementation": "eager",
        }
        model: Any = LlamaForCausalLM(LlamaConfig(**options))
        model.to(dtype).eval()
        model.load_state_dict(dict(self.pair.teacher_weights))
        return model

    @torch.no_grad()
    def _forward(
        self, state: CacheState, tokens: Any, positions: Any, visible: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run rows behind those in the cache; `visible` is bool `[R, S]`. Returns logits and features."""
        lowest = torch.finfo(self.model.dtype).min
        bias = torch.zeros(visible.shape, dtype=self.model.dtype).masked_fill(~visible, lowest)
        done = self.model(
            input_ids=torch.as_tensor(tokens)[None],
            position_ids=torch.as_tensor(positions)[None],
            attention_mask=bias[None, None],
            past_key_values=state.cache,
            output_hidden_states=True,
        )
        tapped = [done.hidden_states[layer][0] for layer in self.pair.drafter.taps.layers]
        return done.logits[0], torch.cat(tapped, dim=-1)

    def snapshot(self, state: CacheState) -> CacheState:
        """Return a copy with a cache of its own, on which a stage can be repeated."""
        return replace(state, watch=NullWatch(), cache=copy.deepcopy(state.cache))

    def prefill(self, state: CacheState, prompt: Sequence[int]) -> Prefilled:
        """Run the teacher over the prompt."""
        context, length = np.asarray(prompt), len(prompt)
        state.watch.about_to_run("prefill", {"context_token_ids": context})
        state.cache, state.length = DynamicCache(), length
        visible = torch.ones(length, length, dtype=torch.bool).tril()
        logits, features = self._forward(state, context, np.arange(length), visible)
        root = int(logits[-1].argmax())
        return Prefilled(context_token_ids=np.append(context, root), logits=logits[-1], features=features)

    def verify(self, state: CacheState, tree: Tensorized) -> Verified:
        """Run the teacher over the rows of the tree; what it reports is what attention was given."""
        launched = ("token_ids", "parents", "depths", "valid", "position_ids", "cache_positions", "visible")
        columns = {name: getattr(tree, name) for name in launched}
        state.watch.about_to_run("verify", {"committed_len": state.length, **columns})
        own = torch.as_tensor(tree.visible)
        prefix = torch.ones(len(own), state.length, dtype=torch.bool)
        visible = torch.cat([prefix, own], dim=1)
        logits, features = self._forward(state, tree.token_ids, tree.position_ids, visible)
        return Verified(
            visible=visible[:, state.length :].numpy(),
            prefix_visible=visible[:, : state.length].sum(1).numpy(),
            other_visible=np.zeros(len(own), dtype=np.int64),
            logits=logits,
            target_token_ids=logits.argmax(-1).numpy(),
            features=features,
            kernel="transformers eager",
        )

    def commit(
        self, state: CacheState, _tree: Tensorized, _verified: Verified, accepted: Accepted
    ) -> Committed:
        """Gather the rows of the accepted path behind the committed ones and drop the others."""
        state.watch.about_to_run("commit", {"path_indices": accepted.path_indices})
        before, rows = state.length, torch.as_tensor(accepted.path_indices)
        for layer in state.cache.layers:
            for name in ("keys", "values"):
                held = getattr(layer, name)
                kept = torch.cat([held[:, :, :before], held[:, :, rows]], dim=2)
                setattr(layer, name, kept)
        state.length = before + len(rows)
        return Committed(
            committed_len=before,
            committed_len_after=state.length,
            commit_mode="full_reorder",
            commit_fallback="rows are always gathered",
            prefix_kept=True,
        )

    def kv_rows(self, state: CacheState, cache: str, positions: Any) -> Tensor | None:
        """Copy rows of the cache, `[layers, 2, kv_heads, R, D]`; committed and tree rows are one buffer."""
        if cache == "drafter":
            return None
        at = torch.as_tensor(positions)
        layers = [torch.stack([each.keys[0, :, at], each.values[0, :, at]]) for each in state.cache.layers]
        return torch.stack(layers)

    def kv_lengths(self, state: CacheState, cache: str) -> tuple[int, ...] | None:
        """Return how many rows each layer has."""
        if cache == "drafter":
            return None
        return tuple(cast("int", each.keys.shape[2]) for each in state.cache.layers)
