"""The EAGLE-3 drafter network: fused teacher features, one decoder layer, a head over its own vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from tracing.models import DrafterConfig, RopeConfig
from workbench.fused.attention import AttentionCall, attend
from workbench.fused.cache.contiguous import ContiguousCache
from workbench.fused.operators import Operators


@dataclass(frozen=True, slots=True)
class DraftRows:
    """Output of one drafter forward.

    Attributes:
        hidden: What the next draft step takes in place of a fused feature, `[R, H]`.
        logits: Over the draft vocabulary, `[R, Vd]`.
        query: After rotary, all rows, `[num_heads, R, D]`.
        key: After rotary, all cached rows, `[num_kv_heads, S, D]`, a view of the cache.
    """

    hidden: Tensor
    logits: Tensor
    query: Tensor
    key: Tensor


class Eagle3:
    """One EAGLE-3 network.

    Attributes:
        target_from_draft: int64 `[Vd]`, target token id of each draft token id.
    """

    def __init__(
        self,
        config: DrafterConfig,
        weights: Mapping[str, Tensor],
        target_from_draft: Tensor,
        operators: Operators,
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.target_from_draft = target_from_draft.to(device)
        self._config = config
        self._weights = {
            name: tensor.detach().to(device=device, dtype=dtype) for name, tensor in weights.items()
        }
        self._gate_and_up = torch.cat(
            [self._weights.pop(f"midlayer.mlp.{name}_proj.weight") for name in ("gate", "up")]
        )
        self._operators = operators
        self._rotary = _rotary_tables(config, config.rope).to(device)

    def fuse(self, features: Tensor) -> Tensor:
        """Return `[R, H]` from tapped teacher features `[R, 3 * H_target]`."""
        if self._config.fc_norm:
            taps = features.chunk(3, dim=-1)
            normed = [self._norm(rows.contiguous(), f"fc_norm.{tap}.weight") for tap, rows in enumerate(taps)]
            features = torch.cat(normed, dim=-1)
        if self._config.norm_before_fc:
            features = self._norm(features, "input_norm.weight")
        return self._linear(features, "fc")

    def forward(
        self,
        token_ids: Tensor,
        hidden: Tensor,
        position_ids: Tensor,
        cache: ContiguousCache,
        call: AttentionCall,
        *,
        blocked: Tensor | None = None,
        last_only: bool = False,
    ) -> DraftRows:
        """Run rows that pair feature j with token j + 1 at position j; keys and values go to `cache`.

        Args:
            token_ids: Target token ids, int64 `[R]`.
            hidden: Fused features or the previous step's `hidden`, `[R, H]`.
            position_ids: int64 `[R]`.
            cache: One layer, extended in place.
            call: How attention runs.
            blocked: bool `[1, 1, R, S]`, True is left out; None with `call.causal`.
            last_only: `hidden` and `logits` of the last row only.
        """
        residual, joined = self._inputs(token_ids, hidden)
        query, keys, values = self._project(joined, position_ids, cache)
        attended = attend(query, keys, values, blocked, call, scale=self._config.head_dim**-0.5)[0].flatten(1)
        if last_only:
            residual, attended = residual[-1:], attended[-1:]
        after = residual + self._linear(attended, "midlayer.self_attn.o_proj")
        out = after + self._mlp(self._norm(after, "midlayer.post_attention_layernorm.weight"))
        normed = self._norm(out, "norm.weight")
        logits = self._linear(normed, "lm_head")
        return DraftRows(normed if self._config.norm_output else out, logits, query[0], keys[0])

    def _inputs(self, token_ids: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the residual `[R, H]` and normed embedding beside normed feature, `[R, 2 * H]`."""
        embedded = self._norm(
            functional.embedding(token_ids, self._weights["embed_tokens.weight"]),
            "midlayer.input_layernorm.weight",
        )
        normed = self._norm(hidden, "midlayer.hidden_norm.weight")
        residual = normed if self._config.norm_before_residual else hidden
        return residual, torch.cat([embedded, normed], dim=-1)

    def _project(
        self, joined: Tensor, position_ids: Tensor, cache: ContiguousCache
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the query `[1, H, R, D]` and all cached keys and values `[1, H_kv, S, D]`."""
        cos, sin = (table.unsqueeze(2) for table in self._rotary(joined, position_ids[None]))
        query = self._operators.rotary(self._heads(joined, "q"), cos, sin)
        key = self._operators.rotary(self._heads(joined, "k"), cos, sin)
        value = self._linear(joined, "midlayer.self_attn.v_proj").view(key.shape)
        keys, values = cache.update(key.transpose(1, 2), value.transpose(1, 2), 0)
        return query.transpose(1, 2), keys, values

    def _heads(self, joined: Tensor, name: str) -> Tensor:
        """Return projected heads `[1, R, heads, D]`, normed where the checkpoint has it."""
        states = self._linear(joined, f"midlayer.self_attn.{name}_proj")
        states = states.view(1, joined.shape[0], -1, self._config.head_dim)
        return (
            self._norm(states, f"midlayer.self_attn.{name}_norm.weight") if self._config.qk_norm else states
        )

    def _mlp(self, hidden: Tensor) -> Tensor:
        activated = self._operators.swiglu(functional.linear(hidden, self._gate_and_up))
        return self._linear(activated, "midlayer.mlp.down_proj")

    def _linear(self, rows: Tensor, name: str) -> Tensor:
        return functional.linear(rows, self._weights[f"{name}.weight"], self._weights.get(f"{name}.bias"))

    def _norm(self, rows: Tensor, name: str) -> Tensor:
        return self._operators.rms_norm(rows, self._weights[name], self._config.rms_norm_eps)


def _rotary_tables(config: DrafterConfig, rope: RopeConfig) -> LlamaRotaryEmbedding:
    return LlamaRotaryEmbedding(
        LlamaConfig(
            hidden_size=config.hidden_size,
            num_attention_heads=config.num_heads,
            head_dim=config.head_dim,
            max_position_embeddings=config.max_position_embeddings,
            rope_parameters={"rope_type": rope.kind, "rope_theta": rope.theta, **rope.parameters},
        )
    )
