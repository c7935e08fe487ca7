"""The EAGLE-3 drafter network: fused teacher features, one decoder layer, a head over its own vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from tracing.models import DrafterConfig, RopeConfig
from workbench.fused.attention import AttentionCall, attend
from workbench.fused.cache.contiguous import ContiguousCache
from workbench.fused.linear import Linear
from workbench.fused.operators import Operators
from workbench.fused.rotary import PLAIN, Rotary
from workbench.fused.seen import Seen, tell_heads, tell_mlp

_JOINED: Final = {
    "qkv": tuple(f"midlayer.self_attn.{name}_proj" for name in "qkv"),
    "gate_and_up": tuple(f"midlayer.mlp.{name}_proj" for name in ("gate", "up")),
}
_SINGLE: Final = ("fc", "midlayer.self_attn.o_proj", "midlayer.mlp.down_proj", "lm_head")


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


class Eagle3Network:
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
        self._operators = operators
        self._products = {
            **{name: self._product(names) for name, names in _JOINED.items()},
            **{name: self._product([name]) for name in _SINGLE},
        }
        self._rotary = _rotary(config, config.rope, device)

    def fuse(self, features: Tensor, seen: Seen | None = None) -> Tensor:
        """Return `[R, H]` from tapped teacher features `[R, 3 * H_target]`."""
        if seen is not None:
            seen(features=features)
        if self._config.fc_norm:
            taps = features.chunk(3, dim=-1)
            normed = [self._norm(rows.contiguous(), f"fc_norm.{tap}.weight") for tap, rows in enumerate(taps)]
            features = torch.cat(normed, dim=-1)
        if self._config.norm_before_fc:
            features = self._norm(features, "input_norm.weight")
        if seen is not None and (self._config.fc_norm or self._config.norm_before_fc):
            seen(features_norm=features)
        return self._products["fc"](features)

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
        seen, layer = call.seen, None if call.seen is None else call.seen.at("midlayer")
        if seen is not None:
            seen(token_ids=token_ids, position_ids=position_ids, hidden_in=hidden)
        residual, joined = self._inputs(token_ids, hidden, seen)
        query, keys, values = self._project(joined, position_ids, cache, layer)
        mixed = attend(query, keys, values, blocked, call, scale=self._config.head_dim**-0.5)
        if layer is not None:
            call.tell(layer, query, keys, values, blocked)
            layer(key=keys[:, -len(position_ids) :], attention=mixed)
        attended = mixed[0].flatten(1)
        if last_only:
            residual, attended = residual[-1:], attended[-1:]
        projected = self._products["midlayer.self_attn.o_proj"](attended)
        after = residual + projected
        out = after + self._mlp(self._norm(after, "midlayer.post_attention_layernorm.weight"), layer)
        normed = self._norm(out, "norm.weight")
        logits = self._products["lm_head"](normed)
        handed_on = normed if self._config.norm_output else out
        if seen is not None and layer is not None:
            layer(attention_output=projected, attended=after, output=out)
            seen(final_norm=normed, hidden_out=handed_on, logits=logits)
        return DraftRows(handed_on, logits, query[0].transpose(0, 1), keys[0].transpose(0, 1))

    def _inputs(self, token_ids: Tensor, hidden: Tensor, seen: Seen | None) -> tuple[Tensor, Tensor]:
        """Return the residual `[R, H]` and normed embedding, then normed feature, `[R, 2 * H]`."""
        embedding = functional.embedding(token_ids, self._weights["embed_tokens.weight"])
        embedded = self._norm(embedding, "midlayer.input_layernorm.weight")
        normed = self._norm(hidden, "midlayer.hidden_norm.weight")
        if seen is not None:
            seen(embedding=embedding, embedding_norm=embedded, hidden_norm=normed)
        residual = normed if self._config.norm_before_residual else hidden
        return residual, torch.cat([embedded, normed], dim=-1)

    def _project(
        self, joined: Tensor, position_ids: Tensor, cache: ContiguousCache, seen: Seen | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the query `[1, R, H, D]` and all cached keys and values `[1, S, H_kv, D]`."""
        tables = self._operators.rotary_tables(self._rotary.tables(position_ids, joined.dtype))
        num_rows, config = len(position_ids), self._config
        heads = self._products["qkv"](joined).view(1, num_rows, -1, config.head_dim)
        num_rotated = config.num_heads + config.num_kv_heads
        to_rotate, value = heads.tensor_split((num_rotated,), dim=2)
        normed = self._normed_heads(to_rotate)
        rotated = self._operators.rotary(normed, *tables)
        query, key = rotated.tensor_split((config.num_heads,), dim=2)
        if seen is not None:
            seen(input_norm=joined)
            tell_heads(seen, heads, normed if config.qk_norm else None, config.num_heads, num_rotated)
        return query, *cache.write(0, key[0], value[0])

    def _normed_heads(self, rotated: Tensor) -> Tensor:
        """Return query and key heads `[1, R, H + H_kv, D]`, normed where the checkpoint has it."""
        if not self._config.qk_norm:
            return rotated
        parts = rotated.tensor_split([self._config.num_heads], dim=2)
        return torch.cat(
            [
                self._norm(part.contiguous(), f"midlayer.self_attn.{name}_norm.weight")
                for name, part in zip("qk", parts, strict=True)
            ],
            dim=2,
        )

    def _mlp(self, hidden: Tensor, seen: Seen | None) -> Tensor:
        both = self._products["gate_and_up"](hidden)
        activated = self._operators.swiglu(both)
        down: Tensor = self._products["midlayer.mlp.down_proj"](activated)
        if seen is not None:
            tell_mlp(seen, hidden, both, activated, down)
        return down

    def _product(self, names: Sequence[str]) -> Linear:
        """Return one product of the named weights, which it then holds, their outputs behind each other."""
        weights = [self._weights.pop(f"{name}.weight") for name in names]
        biases = [self._weights.pop(f"{name}.bias") for name in names if f"{name}.bias" in self._weights]
        return self._operators.products.of(torch.cat(weights), torch.cat(biases) if biases else None)

    def _norm(self, rows: Tensor, name: str) -> Tensor:
        return self._operators.rms_norm(rows, self._weights[name], self._config.rms_norm_eps)


def _rotary(config: DrafterConfig, rope: RopeConfig, device: torch.device) -> Rotary:
    if rope.kind == PLAIN:
        return Rotary.plain(rope.theta, config.head_dim, device)
    from transformers import LlamaConfig

    hf_config = LlamaConfig(
        hidden_size=config.hidden_size,
        num_attention_heads=config.num_heads,
        head_dim=config.head_dim,
        max_position_embeddings=config.max_position_embeddings,
        rope_parameters={"rope_type": rope.kind, "rope_theta": rope.theta, **rope.parameters},
    )
    return Rotary.of(hf_config, rope.kind, device)
